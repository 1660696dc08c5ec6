#!/usr/bin/env python3
"""Reads a pprof with nothing but the protobuf wire format and prints all of it as JSON.

It exists to disagree with the encoder: it shares no code with it and takes the field numbers from the public schema
(google/pprof, proto/profile.proto). It checks what the schema and strict readers demand and fails loudly.

    read_pprof.py FILE.pb.gz            everything
    read_pprof.py --summary FILE.pb.gz  flat and cumulative per function, without the samples
"""

import gzip
import json
import sys

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# message -> field number -> (name, kind); kinds in capitals are messages, "*" marks repeated fields
SCHEMA = {
    "PROFILE": {
        1: ("sample_type", "VALUE_TYPE*"),
        2: ("sample", "SAMPLE*"),
        3: ("mapping", "MAPPING*"),
        4: ("location", "LOCATION*"),
        5: ("function", "FUNCTION*"),
        6: ("string_table", "string*"),
        7: ("drop_frames", "int64"),
        8: ("keep_frames", "int64"),
        9: ("time_nanos", "int64"),
        10: ("duration_nanos", "int64"),
        11: ("period_type", "VALUE_TYPE"),
        12: ("period", "int64"),
        13: ("comment", "int64*"),
        14: ("default_sample_type", "int64"),
        15: ("doc_url", "int64"),
    },
    "VALUE_TYPE": {1: ("type", "int64"), 2: ("unit", "int64")},
    "SAMPLE": {1: ("location_id", "uint64*"), 2: ("value", "int64*"), 3: ("label", "LABEL*")},
    "LABEL": {1: ("key", "int64"), 2: ("str", "int64"), 3: ("num", "int64"), 4: ("num_unit", "int64")},
    "MAPPING": {
        1: ("id", "uint64"),
        2: ("memory_start", "uint64"),
        3: ("memory_limit", "uint64"),
        4: ("file_offset", "uint64"),
        5: ("filename", "int64"),
        6: ("build_id", "int64"),
        7: ("has_functions", "bool"),
        8: ("has_filenames", "bool"),
        9: ("has_line_numbers", "bool"),
        10: ("has_inline_frames", "bool"),
    },
    "LOCATION": {
        1: ("id", "uint64"),
        2: ("mapping_id", "uint64"),
        3: ("address", "uint64"),
        4: ("line", "LINE*"),
        5: ("is_folded", "bool"),
    },
    "LINE": {1: ("function_id", "uint64"), 2: ("line", "int64"), 3: ("column", "int64")},
    "FUNCTION": {
        1: ("id", "uint64"),
        2: ("name", "int64"),
        3: ("system_name", "int64"),
        4: ("filename", "int64"),
        5: ("start_line", "int64"),
    },
}


def demand(condition, complaint):
    if not condition:
        raise SystemExit(f"not a valid pprof: {complaint}")


def varint(data, at):
    value = shift = 0
    while True:
        demand(at < len(data) and shift < 70, "varint runs out of its message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def number(kind, value):
    if kind == "int64" and value >> 63:
        return value - (1 << 64)
    return bool(value) if kind == "bool" else value


def decode(message, data):
    fields = SCHEMA[message]
    out = {}
    for name, kind in fields.values():
        plain = kind.rstrip("*")
        default = None if plain in SCHEMA else False if plain == "bool" else 0
        out[name] = [] if kind.endswith("*") else default
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        demand(tag >> 3 in fields, f"{message} has an unknown field {tag >> 3}")
        name, kind = fields[tag >> 3]
        plain = kind.rstrip("*")
        if tag & 7 == VARINT:
            demand(plain not in SCHEMA and plain != "string", f"{message}.{name} is a varint")
            value, at = varint(data, at)
            values = [number(plain, value)]
        else:
            demand(tag & 7 == BYTES, f"{message}.{name} has wire type {tag & 7}")
            length, at = varint(data, at)
            demand(at + length <= len(data), f"{message}.{name} runs out of its message")
            chunk = data[at : at + length]
            at += length
            if plain == "string":
                values = [chunk.decode("utf-8")]
            elif plain in SCHEMA:
                values = [decode(plain, chunk)]
            else:
                demand(kind.endswith("*"), f"{message}.{name} is packed but not repeated")
                values, inner = [], 0
                while inner < len(chunk):
                    value, inner = varint(chunk, inner)
                    values.append(number(plain, value))
        if kind.endswith("*"):
            out[name].extend(values)
        else:
            out[name] = values[-1]
    return out


def by_id(what, items):
    ids = [item["id"] for item in items]
    demand(ids == list(range(1, len(ids) + 1)), f"ids of {what} are not 1, 2, 3, ...")
    return {item["id"]: item for item in items}


def labels(raw, text):
    out = {}
    for label in raw:
        key = text(label["key"])
        demand(key and key not in out, f"label key {key!r} is empty or there twice")
        demand(not (label["str"] and label["num"]), f"label {key!r} is a string and a number")
        if label["str"]:
            demand(not label["num_unit"], f"string label {key!r} has a unit")
            out[key] = text(label["str"])
        else:
            out[key] = label["num"]
    return out


def read(path):
    with open(path, "rb") as file:
        raw = decode("PROFILE", gzip.decompress(file.read()))
    table = raw["string_table"]
    demand(table and table[0] == "", "string 0 is not empty")
    demand(len(set(table)) == len(table), "a string is in the table twice")

    def text(index):
        demand(0 <= index < len(table), f"string {index} is not in the table")
        return table[index]

    def value_type(raw_type):
        return {"type": text(raw_type["type"]), "unit": text(raw_type["unit"])}

    mappings, functions = by_id("mappings", raw["mapping"]), by_id("functions", raw["function"])
    for function in functions.values():
        for key in ("name", "system_name", "filename"):
            function[key] = text(function[key])
    for mapping in mappings.values():
        for key in ("filename", "build_id"):
            mapping[key] = text(mapping[key])
    frames, used = {}, set()
    for location in by_id("locations", raw["location"]).values():
        demand(location["mapping_id"] in mappings, "a location has no mapping")
        demand(len(location["line"]) == 1, "a location has not exactly one line")
        line = location["line"][0]
        demand(line["function_id"] in functions, "a line has no function")
        used.add(line["function_id"])
        function = functions[line["function_id"]]
        frames[location["id"]] = {
            "function": function["name"],
            "filename": function["filename"],
            "start_line": function["start_line"],
            "line": line["line"],
            "address": location["address"],
        }
    demand(used == set(functions), "a function has no location")

    types = [value_type(sample_type) for sample_type in raw["sample_type"]]
    samples, sampled, kinds = [], set(), {}
    for sample in raw["sample"]:
        demand(len(sample["value"]) == len(types), "a sample has not one value per type")
        demand(all(id in frames for id in sample["location_id"]), "a sample has an unknown location")
        sampled.update(sample["location_id"])
        sample_labels = labels(sample["label"], text)
        for key, value in sample_labels.items():
            demand(kinds.setdefault(key, type(value)) is type(value), f"label {key!r} is a string here, a number there")
        samples.append(
            {
                "stack": [frames[id] for id in sample["location_id"]],
                "values": dict(zip([sample_type["type"] for sample_type in types], sample["value"])),
                "labels": sample_labels,
            }
        )
    demand(sampled == set(frames), "a location has no sample")
    return {
        "sample_types": types,
        "default_sample_type": text(raw["default_sample_type"]),
        "period_type": value_type(raw["period_type"]),
        "period": raw["period"],
        "time_nanos": raw["time_nanos"],
        "duration_nanos": raw["duration_nanos"],
        "comments": [text(index) for index in raw["comment"]],
        "mappings": list(mappings.values()),
        "functions": list(functions.values()),
        "samples": samples,
    }


def totals(profile):
    """Flat and cumulative of the default type per function name and file; recursion counts once per sample."""
    out = {}
    for sample in profile["samples"]:
        value = sample["values"][profile["default_sample_type"]]
        keys = [(frame["function"], frame["filename"]) for frame in sample["stack"]]
        for key in set(keys):
            out.setdefault(key, [0, 0])[1] += value
        if keys:
            out[keys[0]][0] += value
    return [{"function": f, "filename": n, "flat": flat, "cum": cum} for (f, n), (flat, cum) in sorted(out.items())]


def main():
    arguments = sys.argv[1:]
    summary = "--summary" in arguments
    paths = [argument for argument in arguments if argument != "--summary"]
    demand(len(paths) == 1, "give one file")
    profile = read(paths[0])
    profile["totals"] = totals(profile)
    if summary:
        del profile["samples"]
    # ASCII, so that the encoding of the pipe does not matter.
    json.dump(profile, sys.stdout, indent=None if not sys.stdout.isatty() else 2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
