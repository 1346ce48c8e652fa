//! Refuse Parquet footers and page headers that promise impossible lengths: polars would abort the process on them.

use std::ops::Range;

use polars::prelude::FileMetadata;

/// What is wrong with the first bad page header: its byte offset, and what was expected.
pub(super) type Fault = (u64, String);

/// Walks the page headers of every column chunk of a whole file.
pub(super) fn check(file: &[u8], metadata: &FileMetadata) -> std::result::Result<(), Fault> {
    for chunk in metadata.row_groups.iter().flat_map(|group| group.parquet_columns()) {
        let Range { start, end } = chunk.byte_range();
        if start > end || end > file.len() as u64 {
            return Err((start, format!("a column that ends within the file, found the end {end}")));
        }
        let (mut at, total, mut seen) = (start, chunk.num_values(), 0);
        while seen < total {
            let mut thrift = Thrift { rest: &file[at as usize..end as usize] };
            let page = thrift.page().ok_or_else(|| (at, "a readable page header".to_string()))?;
            if !(0..=total - seen).contains(&page.values) {
                return Err((at, format!("a page of 0 to {} values, found {}", total - seen, page.values)));
            }
            let content = thrift.rest.len() as u64;
            if page.size < 0 || page.size as u64 > content {
                return Err((at, format!("a page of 0 to {content} bytes, found {}", page.size)));
            }
            seen += page.values;
            at = end - content + page.size as u64;
        }
    }
    Ok(())
}

/// Whether a footer is a whole struct whose lists fit it: polars asks for the memory of a list before it reads the elements.
pub(super) fn footer_is_whole(footer: &[u8]) -> bool {
    Thrift { rest: footer }.skip(STRUCT, 0).is_some()
}

/// Of a page header: the length of the content that follows it, and the number of values; a dictionary has none.
#[derive(Default)]
struct Page {
    size: i64,
    values: i64,
}

/// The compact Thrift protocol, as far as page headers use it.
struct Thrift<'a> {
    rest: &'a [u8],
}

/// Structs and lists within each other: Parquet has about 8.
const DEEPEST: usize = 16;

/// Types of fields in the compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

impl Thrift<'_> {
    /// A `PageHeader`: field 3 is the size; field 1 of fields 5 and 8 (data pages, old and new) the number of values.
    fn page(&mut self) -> Option<Page> {
        let mut page = Page::default();
        let mut id = 0;
        while let Some((field, kind)) = self.field(id)? {
            id = field;
            match (field, kind) {
                (3, I16..=I64) => page.size = self.zigzag()?,
                (5 | 8, STRUCT) => page.values = self.first_of_struct()?,
                _ => self.skip(kind, 0)?,
            }
        }
        Some(page)
    }

    /// Field 1, an integer, of a struct.
    fn first_of_struct(&mut self) -> Option<i64> {
        let (mut first, mut id) = (None, 0);
        while let Some((field, kind)) = self.field(id)? {
            id = field;
            match (field, kind) {
                (1, I16..=I64) => first = Some(self.zigzag()?),
                _ => self.skip(kind, 0)?,
            }
        }
        first
    }

    /// The next field's number and type; `Some(None)` at the end of the struct.
    fn field(&mut self, last: i64) -> Option<Option<(i64, u8)>> {
        let byte = self.take(1)?[0];
        if byte == 0 {
            return Some(None);
        }
        let step = i64::from(byte >> 4);
        Some(Some((if step > 0 { last + step } else { self.zigzag()? }, byte & 0x0f)))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            TRUE | FALSE => {}
            BYTE => drop(self.take(1)?),
            I16..=I64 => drop(self.varint()?),
            BINARY => {
                let length = self.varint()?;
                self.take(usize::try_from(length).ok()?)?;
            }
            DOUBLE => drop(self.take(8)?),
            LIST | SET if depth < DEEPEST => {
                let head = self.take(1)?[0];
                let short = u64::from(head >> 4);
                let count = if short < 15 { short } else { self.varint()? };
                // every element takes a byte or more, truth values too
                if count > self.rest.len() as u64 {
                    return None;
                }
                let kind = if matches!(head & 0x0f, TRUE | FALSE) { BYTE } else { head & 0x0f };
                (0..count).try_for_each(|_| self.skip(kind, depth + 1))?;
            }
            STRUCT if depth < DEEPEST => {
                let mut id = 0;
                while let Some((field, kind)) = self.field(id)? {
                    id = field;
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn zigzag(&mut self) -> Option<i64> {
        let v = self.varint()?;
        Some((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }
}
