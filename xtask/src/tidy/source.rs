//! A file as tidy sees it: line by line, with comments and literals told from code.
//!
//! A small lexer and not a parser: rules are about names, and a parser would tie them to a version of the
//! language.

use std::iter::Peekable;
use std::str::Chars;

pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    lines: Vec<Line<'a>>,
}

pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    pub(super) raw: &'a str,
    /// Without comments and without what literals contain.
    pub(super) code: String,
    /// Without comments.
    pub(super) with_literals: String,
    /// Inside `#[cfg(test)]`, or a file of tests.
    pub(super) is_test: bool,
    /// Between `use crate` and its semicolon.
    pub(super) is_in_use_of_crate: bool,
}

impl Line<'_> {
    pub(super) fn idents(&self) -> impl Iterator<Item = &str> {
        self.code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
    }

    pub(super) fn squeezed(&self) -> String {
        self.code.chars().filter(|c| !c.is_whitespace()).collect()
    }
}

impl<'a> Source<'a> {
    pub(super) fn parse(path: &'a str, text: &'a str) -> Self {
        let (code, with_literals) = match path.ends_with(".rs") {
            true => strip(text),
            false => (text.to_owned(), text.to_owned()),
        };
        let stripped = code.split('\n').zip(with_literals.split('\n'));
        let mut lines: Vec<Line> = text
            .lines()
            .zip(stripped)
            .enumerate()
            .map(|(at, (raw, (code, with_literals)))| Line {
                number: at + 1,
                raw,
                code: code.to_owned(),
                with_literals: with_literals.to_owned(),
                is_test: path.contains("/tests/") || path.ends_with("tests.rs"),
                is_in_use_of_crate: false,
            })
            .collect();
        mark_tests(&mut lines);
        mark_uses(&mut lines);
        Self { path, lines }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line<'a>> {
        self.lines.iter()
    }
}

/// What follows `#[cfg(test)]`: a module to the end of the file, as is the custom, or else the one item.
fn mark_tests(lines: &mut [Line]) {
    let mut cfg_test = false;
    let mut module = false;
    for line in lines {
        let code = line.code.trim();
        if cfg_test && code.starts_with("mod ") && code.ends_with('{') {
            module = true;
        }
        line.is_test |= module || cfg_test;
        if code == "#[cfg(test)]" {
            cfg_test = true;
        } else if code.ends_with(';') || code.ends_with('}') {
            cfg_test = false;
        }
    }
}

fn mark_uses(lines: &mut [Line]) {
    let mut inside = false;
    for line in lines {
        let code = line.code.trim();
        inside |= code.starts_with("use crate") || code.starts_with("pub use crate");
        line.is_in_use_of_crate = inside;
        inside &= !code.contains(';');
    }
}

/// The text twice, line for line: without comments and literals, and without comments.
fn strip(text: &str) -> (String, String) {
    let mut out = Stripped::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek().copied()) {
            ('/', Some('/')) => while chars.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => block_comment(&mut chars, &mut out),
            ('"', _) => literal(&mut chars, &mut out),
            ('r', Some('"' | '#')) if !out.in_word() && is_raw_string(&chars) => {
                raw_literal(&mut chars, &mut out)
            }
            // A byte string's prefix: the literal itself follows.
            ('b', Some('r')) if !out.in_word() => {
                let mut ahead = chars.clone();
                ahead.next();
                if is_raw_string(&ahead) {
                    chars.next();
                    raw_literal(&mut chars, &mut out);
                } else {
                    out.code(c);
                }
            }
            ('\'', Some(_)) => char_literal(&mut chars, &mut out),
            _ => out.code(c),
        }
    }
    (out.code, out.with_literals)
}

#[derive(Default)]
struct Stripped {
    code: String,
    with_literals: String,
}

impl Stripped {
    fn code(&mut self, c: char) {
        self.code.push(c);
        self.with_literals.push(c);
    }

    fn literal(&mut self, c: char) {
        self.code.extend((c == '\n').then_some(c));
        self.with_literals.push(c);
    }

    fn in_word(&self) -> bool {
        self.code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }
}

/// They nest in Rust; only their line breaks are kept.
fn block_comment(chars: &mut Peekable<Chars>, out: &mut Stripped) {
    let mut depth = 0;
    let mut last = '/';
    for c in chars.by_ref() {
        if c == '\n' {
            out.code(c);
        }
        match (last, c) {
            ('/', '*') => (depth, last) = (depth + 1, ' '),
            ('*', '/') => (depth, last) = (depth - 1, ' '),
            _ => last = c,
        }
        if depth == 0 {
            break;
        }
    }
}

/// After the opening quote.
fn literal(chars: &mut Peekable<Chars>, out: &mut Stripped) {
    out.literal('"');
    while let Some(c) = chars.next() {
        out.literal(c);
        match c {
            '\\' => chars.next().into_iter().for_each(|escaped| out.literal(escaped)),
            '"' => break,
            _ => {}
        }
    }
}

/// After an `r`: hashes, if any, and a quote; `r#name` is no string.
fn is_raw_string(chars: &Peekable<Chars>) -> bool {
    chars.clone().find(|c| *c != '#') == Some('"')
}

/// After the `r`.
fn raw_literal(chars: &mut Peekable<Chars>, out: &mut Stripped) {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    chars.next();
    out.literal('"');
    while let Some(c) = chars.next() {
        out.literal(c);
        let closes = c == '"' && chars.clone().take(hashes).filter(|c| *c == '#').count() == hashes;
        if closes {
            for _ in 0..hashes {
                chars.next();
            }
            break;
        }
    }
}

/// After a `'`: a character literal, or a lifetime, which stays code.
fn char_literal(chars: &mut Peekable<Chars>, out: &mut Stripped) {
    let mut ahead = chars.clone();
    let (first, second) = (ahead.next(), ahead.next());
    match (first, second) {
        (Some('\\'), _) => {
            out.literal('\'');
            for _ in 0..2 {
                chars.next().into_iter().for_each(|c| out.literal(c));
            }
            for c in chars.by_ref() {
                out.literal(c);
                if c == '\'' {
                    break;
                }
            }
        }
        (Some(c), Some('\'')) => {
            chars.next();
            chars.next();
            [c, '\''].into_iter().for_each(|c| out.literal(c));
        }
        _ => out.code('\''),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_told_from_code() {
        let check = |text: &str, code: &str, with_literals: &str| {
            assert_eq!(strip(text), (code.to_owned(), with_literals.to_owned()), "{text}");
        };
        check("a // b\nc", "a \nc", "a \nc");
        check("a /* b /* c */\n d */ e", "a \n e", "a \n e");
        check("f(\"x // y\") z", "f() z", "f(\"x // y\") z");
        check("\"\\\"a\" b", " b", "\"\\\"a\" b");
        check("r#\"a \"b\" // c\"# d", " d", "\"a \"b\" // c\" d");
        check("br\"a\\\" d", " d", "\"a\\\" d");
        check("r#type + br + r", "r#type + br + r", "r#type + br + r");
        check("'\"' x '\\'' y '\\u{41}' z", " x  y  z", "\"' x '\\'' y '\\u{41}' z");
        check("&'a str // '", "&'a str ", "&'a str ");
        check("\"open", "", "\"open");
        check("/* open", "", "");
    }
}
