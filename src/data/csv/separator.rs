//! Tell from the first line of a table what separates its columns.

/// What stands between the columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Separator {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tab.
    Tab,
    /// `|`
    Bar,
    /// One or more spaces and tabs.
    Blanks,
}

impl Separator {
    /// The byte, or `None` for blanks.
    pub(super) fn byte(self) -> Option<u8> {
        match self {
            Separator::Comma => Some(b','),
            Separator::Semicolon => Some(b';'),
            Separator::Tab => Some(b'\t'),
            Separator::Bar => Some(b'|'),
            Separator::Blanks => None,
        }
    }

    /// In an error: `separated by …`.
    pub(super) fn words(self) -> &'static str {
        match self {
            Separator::Comma => "commas",
            Separator::Semicolon => "semicolons",
            Separator::Tab => "tabs",
            Separator::Bar => "bars",
            Separator::Blanks => "blanks",
        }
    }

    /// The separator of a first line: a semicolon or a bar before all else, since numbers hold none; of tabs and commas
    /// the one that leaves no other within a field; blanks where there is nothing else.
    pub(super) fn sense(line: &[u8]) -> Self {
        let bare = unquoted(line);
        let bare = bare.trim_ascii();
        let has = |byte: u8| bare.contains(&byte);
        let tab_within = || bare.split(|&b| b == b',').any(|field| field.trim_ascii().contains(&b'\t'));
        match () {
            () if has(b';') => Separator::Semicolon,
            () if has(b'\t') && (!has(b',') || tab_within()) => Separator::Tab,
            () if has(b'|') => Separator::Bar,
            () if has(b',') => Separator::Comma,
            () if has(b' ') => Separator::Blanks,
            () => Separator::Comma,
        }
    }
}

/// The line with what stands in quotes replaced by one letter each.
fn unquoted(line: &[u8]) -> Vec<u8> {
    let mut quoted = false;
    let keep = |&byte: &u8| {
        let was = quoted;
        quoted ^= byte == b'"';
        (!was).then_some(if byte == b'"' { b'q' } else { byte })
    };
    line.iter().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::Separator::{self, *};

    #[test]
    fn the_first_line_tells_the_separator() {
        let cases: [(&str, Separator); 14] = [
            ("1,2", Comma),
            ("1, 2", Comma),
            ("1,\t2", Comma),
            ("7", Comma),
            ("1;2", Semicolon),
            ("1,5;2,5", Semicolon),
            ("1\t2", Tab),
            ("1,5\t2,5", Tab),
            ("1|2", Bar),
            ("1 2", Blanks),
            ("\"a;b\",c", Comma),
            ("\"a b\"", Comma),
            ("\"a \"\"b\"\"\";c", Semicolon),
            (" 7 ", Comma),
        ];
        for (line, separator) in cases {
            assert_eq!(Separator::sense(line.as_bytes()), separator, "{line:?}");
        }
    }
}
