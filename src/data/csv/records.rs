//! Cut a text into the records and fields of a table, and know the line of each: a quoted field may hold line breaks.

use std::io::BufRead;

use super::super::source::{Source, refused};
use super::encoding::decoded;
use super::{CsvOptions, Separator};
use crate::error::{Error, Result};

/// Bytes of a record: a small gzipped file can unfold into one that fills the memory.
const LONGEST: usize = 1 << 24;

/// Columns of a record, for the same reason.
const WIDEST: usize = 1 << 20;

const UNCLOSED: &str = "a quote that ends the quoted field, the file ends";

/// One field without quotes and the blanks around it, and the line (from 1) in which it starts.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) line: u64,
    pub(super) quoted: bool,
}

/// Where a field lies: its bytes, the lines between it and the start of the record, and whether it stood in quotes.
struct Span {
    from: u32,
    to: u32,
    below: u32,
    quoted: bool,
}

/// The records of a file that are neither blank nor comments.
pub(super) struct Records {
    pub(super) source: Source,
    pub(super) separator: Separator,
    /// Whether the separator was told from the first record.
    pub(super) sensed: bool,
    /// The line in which the current record starts, from 1.
    pub(super) line: u64,
    /// Comments right before the current record.
    pub(super) comments: usize,
    /// Comments in the whole file so far.
    skipped: usize,
    comment: Option<String>,
    /// Lines and bytes read so far.
    lines: u64,
    read: u64,
    /// The record as it stands in the file, without its line end.
    raw: Vec<u8>,
    /// The fields without their quotes.
    text: Vec<u8>,
    spans: Vec<Span>,
}

impl Records {
    pub(super) fn new(mut source: Source, options: &CsvOptions) -> Result<Self> {
        let path = &source.path;
        source.reader = decoded(source.reader).map_err(|e| refused(path, "line 1".into(), e))?;
        if let Some(limit) = options.gzip_limit.filter(|_| source.most_text < u64::MAX) {
            source.most_text = limit;
        }
        Ok(Records {
            source,
            separator: options.separator.unwrap_or(Separator::Comma),
            sensed: options.separator.is_none(),
            line: 0,
            comments: 0,
            skipped: 0,
            comment: options.comment.map(String::from),
            lines: 0,
            read: 0,
            raw: Vec::new(),
            text: Vec::new(),
            spans: Vec::new(),
        })
    }

    /// Goes on to the next record; false at the end of the file.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.comments = 0;
        loop {
            self.raw.clear();
            if !self.add_line()? {
                self.line = self.lines;
                return Ok(false);
            }
            let line = self.raw.trim_ascii_start();
            if self.comment.as_ref().is_some_and(|c| line.starts_with(c.as_bytes())) {
                self.comments += 1;
                self.skipped += 1;
            } else if !line.is_empty() {
                break;
            }
        }
        self.line = self.lines;
        let mut quotes = Quotes::default();
        while quotes.open_at_end(&self.raw, (!self.spans.is_empty() || !self.sensed).then_some(self.separator)) {
            let from = self.line;
            self.raw.push(b'\n');
            if !self.add_line()? {
                return Err(self.error(format!("line {from}"), UNCLOSED.into()));
            }
        }
        if self.spans.is_empty() && self.sensed {
            self.separator = Separator::sense(&self.raw);
        }
        if self.raw.contains(&0) && self.spans.is_empty() {
            let expected = "text, found a zero byte (UTF-16 needs its byte order mark: save the file as UTF-8)";
            return Err(self.error(format!("line {}", self.line), expected.into()));
        }
        self.cut()?;
        Ok(true)
    }

    /// How many lines were skipped as comments, in words.
    pub(super) fn note(&self) -> Option<String> {
        let start = self.comment.as_deref().filter(|_| self.skipped > 0)?;
        Some(format!("skipped {} lines that start with {start}", self.skipped))
    }

    pub(super) fn width(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.spans.iter().map(|span| Field {
            bytes: self.text[span.from as usize..span.to as usize].trim_ascii(),
            line: self.line + u64::from(span.below),
            quoted: span.quoted,
        })
    }

    pub(super) fn error(&self, place: String, expected: String) -> Error {
        Error::data(&self.source.path, place, expected)
    }

    /// Appends a line without its end (LF, CR LF or CR) to the record; false if there is none.
    fn add_line(&mut self) -> Result<bool> {
        self.lines += 1;
        let (before, mut ended) = (self.read, false);
        while !ended {
            let failed = |e| refused(&self.source.path, format!("line {}", self.lines), e);
            let bytes = self.source.reader.fill_buf().map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let (taken, carriage) = (end.unwrap_or(bytes.len()), end.is_some_and(|i| bytes[i] == b'\r'));
            self.raw.extend_from_slice(&bytes[..taken]);
            ended = end.is_some();
            let used = taken + usize::from(ended);
            self.source.reader.consume(used);
            self.read += used as u64;
            if carriage && self.source.reader.fill_buf().map_err(failed)?.first() == Some(&b'\n') {
                self.source.reader.consume(1);
                self.read += 1;
            }
            let place = || format!("line {}", self.lines);
            if self.raw.len() > LONGEST {
                return Err(self.error(place(), format!("a line of at most {LONGEST} bytes")));
            }
            if self.read > self.source.most_text {
                let most = self.source.most_text;
                let expected = format!("at most {most} bytes of text from so small a gzipped file");
                let helps = "unzip it, or raise option `gzip_limit`, if all is well";
                return Err(self.error(place(), format!("{expected}; {helps}")));
            }
        }
        Ok(self.read > before)
    }

    /// Finds the fields of the record.
    fn cut(&mut self) -> Result<()> {
        self.text.clear();
        self.spans.clear();
        let (separator, mut at, mut below) = (self.separator.byte(), 0, 0);
        let blank = |b: u8| b == b' ' || (b == b'\t' && separator != Some(b'\t'));
        let ends = |b: u8| separator.map_or(blank(b), |s| b == s);
        loop {
            while self.raw.get(at).is_some_and(|&b| blank(b)) {
                at += 1;
            }
            if separator.is_none() && at == self.raw.len() {
                break;
            }
            let (from, start) = (self.text.len(), below);
            let quoted = self.raw.get(at) == Some(&b'"');
            if quoted {
                at += 1;
                loop {
                    match (self.raw.get(at), self.raw.get(at + 1)) {
                        (Some(b'"'), Some(b'"')) => at += 1,
                        (Some(b'"'), _) => break,
                        (Some(b'\n'), _) => below += 1,
                        (Some(_), _) => {}
                        (None, _) => return Err(self.error(format!("line {}", self.line), UNCLOSED.into())),
                    }
                    self.text.push(self.raw[at]);
                    at += 1;
                }
                at += 1;
                while separator.is_some() && self.raw.get(at).is_some_and(|&b| blank(b)) {
                    at += 1;
                }
            } else {
                let rest = &self.raw[at..];
                let length = rest.iter().position(|&b| ends(b)).unwrap_or(rest.len());
                self.text.extend_from_slice(&rest[..length]);
                at += length;
            }
            let to = self.text.len() as u32;
            self.spans.push(Span { from: from as u32, to, below: start, quoted });
            let place = || format!("line {}, column {}", self.line + u64::from(below), self.spans.len());
            if self.spans.len() > WIDEST {
                return Err(self.error(format!("line {}", self.line), format!("at most {WIDEST} columns")));
            }
            match self.raw.get(at) {
                None => break,
                Some(&b) if ends(b) => at += 1,
                Some(_) => {
                    let expected =
                        format!("the end of the field behind its quote ({} separate)", self.separator.words());
                    return Err(self.error(place(), expected));
                }
            }
        }
        Ok(())
    }
}

/// Follows the quotes of a record that grows line by line.
#[derive(Default)]
struct Quotes {
    at: usize,
    open: bool,
}

impl Quotes {
    /// Whether the record so far ends within quotes. A quote opens a field only at its start; before the separator is
    /// known, after any of them.
    fn open_at_end(&mut self, raw: &[u8], separator: Option<Separator>) -> bool {
        while let Some(next) = raw[self.at..].iter().position(|&b| b == b'"') {
            let here = self.at + next;
            let doubled = here > 0 && here == self.at && raw[here - 1] == b'"';
            let tab = separator.and_then(Separator::byte) == Some(b'\t');
            let blank = |b: &u8| *b == b' ' || (*b == b'\t' && !tab);
            let behind_blank = here == 0 || blank(&raw[here - 1]);
            let before = || raw[..here].iter().rev().find(|b| !blank(b)).copied();
            let starts = || match separator.map(Separator::byte) {
                Some(None) => behind_blank,
                Some(byte) => before().is_none() || before() == byte,
                None => behind_blank || b",;|\t".contains(&raw[here - 1]),
            };
            self.open = !self.open && (doubled || starts());
            self.at = here + 1;
        }
        self.at = raw.len();
        self.open
    }
}
