//! A reader of pprof files written from the public schema (google/pprof, `proto/profile.proto`) alone.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// One line of one function. Inlined functions do not occur.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Frame {
    pub name: String,
    pub file: String,
    pub line: i64,
    pub start_line: i64,
    pub address: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Leaf first.
    pub frames: Vec<Frame>,
    pub count: u64,
    pub ns: u64,
    pub labels: HashMap<String, String>,
    pub numbers: HashMap<String, i64>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Profile {
    pub samples: Vec<Sample>,
    /// `samples/count` and so on.
    pub types: Vec<(String, String)>,
    pub comments: Vec<String>,
    pub period: i64,
    pub duration_ns: i64,
    pub time_ns: i64,
}

/// A field of a message: its number and its value.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            other => panic!("wire type {other} does not occur in profile.proto"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The numbers of a repeated field, packed or not.
fn numbers(field: &Field<'_>) -> Vec<u64> {
    match field {
        Field::Number(number) => vec![*number],
        Field::Bytes(bytes) => {
            let mut bytes = *bytes;
            let mut all = Vec::new();
            while !bytes.is_empty() {
                all.push(varint(&mut bytes));
            }
            all
        }
    }
}

fn number_of(message: &[u8], wanted: u64) -> u64 {
    let found = fields(message).into_iter().find_map(|(number, field)| match field {
        Field::Number(value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

impl Profile {
    pub fn read(path: &Path) -> Profile {
        let profile = Profile::read_foreign(path, "samples");
        assert_eq!(profile.types.len(), 2, "samples and time");
        profile
    }

    /// Of whatever program: `count` is what the profile has for this sample type, and `ns` what comes after it.
    pub fn read_foreign(path: &Path, sample_type: &str) -> Profile {
        let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
        Profile::parse(&bytes, sample_type)
    }

    fn parse(bytes: &[u8], sample_type: &str) -> Profile {
        let all = fields(bytes);
        let messages = |wanted: u64| {
            all.iter().filter_map(move |(number, field)| match field {
                Field::Bytes(bytes) if *number == wanted => Some(*bytes),
                _ => None,
            })
        };
        let strings: Vec<String> =
            messages(6).map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8")).collect();
        assert_eq!(strings.first().map(String::as_str), Some(""), "string_table[0]");
        let string = |index: u64| strings[index as usize].clone();
        let functions: HashMap<u64, (String, String, i64)> = messages(5)
            .map(|function| {
                let name = string(number_of(function, 2));
                let file = string(number_of(function, 4));
                (number_of(function, 1), (name, file, number_of(function, 5) as i64))
            })
            .collect();
        let locations: HashMap<u64, Frame> = messages(4)
            .map(|location| {
                let line = fields(location)
                    .into_iter()
                    .find_map(|(number, field)| match field {
                        Field::Bytes(bytes) if number == 4 => Some(bytes),
                        _ => None,
                    })
                    .expect("a location has a line");
                let (name, file, start_line) = functions[&number_of(line, 1)].clone();
                let frame = Frame {
                    name,
                    file,
                    start_line,
                    line: number_of(line, 2) as i64,
                    address: number_of(location, 3),
                };
                (number_of(location, 1), frame)
            })
            .collect();
        let types: Vec<(String, String)> =
            messages(1).map(|ty| (string(number_of(ty, 1)), string(number_of(ty, 2)))).collect();
        let at = types.iter().position(|(name, _)| name == sample_type).expect("the sample type");
        let samples = messages(2)
            .map(|sample| {
                let mut values = Vec::new();
                let mut frames = Vec::new();
                let (mut labels, mut number_labels) = (HashMap::new(), HashMap::new());
                for (number, field) in fields(sample) {
                    match (number, &field) {
                        (1, _) => frames.extend(numbers(&field).iter().map(|id| locations[id].clone())),
                        (2, _) => values.extend(numbers(&field)),
                        (3, Field::Bytes(label)) => {
                            let key = string(number_of(label, 1));
                            match number_of(label, 2) {
                                0 => drop(number_labels.insert(key, number_of(label, 3) as i64)),
                                text => drop(labels.insert(key, string(text))),
                            }
                        }
                        _ => {}
                    }
                }
                assert_eq!(values.len(), types.len(), "one value per sample type");
                let ns = values.get(at + 1).copied().unwrap_or(0);
                Sample { frames, count: values[at], ns, labels, numbers: number_labels }
            })
            .collect();
        let number = |wanted: u64| {
            let found = all.iter().find_map(|(number, field)| match field {
                Field::Number(value) if *number == wanted => Some(*value as i64),
                _ => None,
            });
            found.unwrap_or(0)
        };
        let comments = all.iter().filter(|(number, _)| *number == 13);
        Profile {
            samples,
            types,
            comments: comments.flat_map(|(_, field)| numbers(field)).map(string).collect(),
            period: number(12),
            duration_ns: number(10),
            time_ns: number(9),
        }
    }

    /// What Python code called what: without the frame of the garbage collector, which anything may trigger.
    pub fn without_collector(mut self) -> Profile {
        for sample in &mut self.samples {
            sample.frames.retain(|frame| frame.name != "<gc>");
        }
        self
    }

    pub fn total(&self) -> (u64, u64) {
        self.samples.iter().fold((0, 0), |(count, ns), sample| (count + sample.count, ns + sample.ns))
    }

    /// Samples by the names of their frames, root first, joined by `;`.
    pub fn stacks(&self) -> HashMap<String, u64> {
        let mut stacks = HashMap::new();
        for sample in &self.samples {
            let names: Vec<&str> = sample.frames.iter().rev().map(|frame| frame.name.as_str()).collect();
            *stacks.entry(names.join(";")).or_insert(0) += sample.count;
        }
        stacks
    }

    /// Samples and time in which `name` is the leaf.
    pub fn flat(&self, name: &str) -> (u64, u64) {
        self.sum(|sample| sample.frames.first().is_some_and(|frame| frame.name == name))
    }

    /// Samples and time in which `name` is on the stack.
    pub fn cumulative(&self, name: &str) -> (u64, u64) {
        self.sum(|sample| sample.frames.iter().any(|frame| frame.name == name))
    }

    fn sum(&self, of: impl Fn(&Sample) -> bool) -> (u64, u64) {
        let those = self.samples.iter().filter(|sample| of(sample));
        those.fold((0, 0), |(count, ns), sample| (count + sample.count, ns + sample.ns))
    }
}
