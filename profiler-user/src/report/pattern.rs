//! A regular expression that the user gave. It searches: a plain name is found wherever it stands.

use regex_lite::Regex;

#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    pub fn new(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err("is empty".into());
        }
        // `<lambda>` and `f.<locals>.g` are what they look like; so is a file. Only `(`, `[`, `*` and the like need a backslash.
        let regex = Regex::new(text).map_err(|error| error.to_string())?;
        Ok(Pattern { text: text.into(), regex })
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is this number as it stands, or is found in one of these names.
    pub fn names(&self, number: u32, names: &[&str]) -> bool {
        match self.text.parse::<u32>() {
            Ok(wanted) => wanted == number,
            Err(_) => names.iter().any(|name| !name.is_empty() && self.is_in(name)),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_numbers_are_whole() {
        let rows = [
            ("lambda", "<lambda>", true),
            ("<lambda>", "f.<locals>.<lambda>", true),
            ("^dot$", "dotted", false),
            ("app\\.py", "/srv/app.py", true),
            ("a|b", "xbx", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(Pattern::new(pattern).unwrap().is_in(text), expected, "{pattern} in {text}");
        }
        let seven = Pattern::new("7").unwrap();
        assert!(seven.names(7, &[]) && !seven.names(77, &["7"]));
        assert!(Pattern::new("work").unwrap().names(7, &["", "my-worker"]));
        assert!(Pattern::new("(").is_err() && Pattern::new("").is_err());
    }
}
