//! Open a file plain or gzipped, whichever its first two bytes say.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::io::expand_home;

/// No deflate stream expands by more than this: 258 bytes from two bits, and some.
const MOST_EXPANSION: u64 = 1040;

/// Text of numbers expands by 3 to 30; what expands by more than this, and is not small, was made to fill the memory.
const TEXT_EXPANSION: u64 = 100;
const SMALL_TEXT: u64 = 1 << 24;

/// The content of one file, decompressed.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) reader: Box<dyn BufRead>,
    /// The content cannot be longer than this, known before anything is decompressed.
    pub(super) most: u64,
    /// The content is read no further than this as text, whose end no header tells.
    pub(super) most_text: u64,
}

impl Source {
    /// The file at this path, whose `~` is the home folder.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let path = expand_home(path)?;
        let refused = |e| Error::io(&path, e);
        let file = File::open(&path).map_err(refused)?;
        let length = file.metadata().map_err(refused)?.len();
        Source::new(path, BufReader::new(file), length)
    }

    /// The content of a file that the library carries with it.
    pub(super) fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Source::new(name.into(), bytes, bytes.len() as u64)
    }

    fn new(path: PathBuf, mut raw: impl BufRead + 'static, length: u64) -> Result<Self> {
        let mut start = Vec::with_capacity(2);
        raw.by_ref().take(2).read_to_end(&mut start).map_err(|e| Error::io(&path, e))?;
        let gzipped = start == [0x1f, 0x8b];
        let whole = Cursor::new(start).chain(raw);
        if gzipped {
            // MultiGzDecoder, because GzDecoder would silently ignore what follows the first member
            let reader = Box::new(BufReader::new(MultiGzDecoder::new(whole)));
            let most_text = length.saturating_mul(TEXT_EXPANSION).max(SMALL_TEXT);
            return Ok(Source { path, reader, most: length.saturating_mul(MOST_EXPANSION), most_text });
        }
        Ok(Source { path, reader: Box::new(whole), most: length, most_text: u64::MAX })
    }

    /// At most `limit` more bytes; fewer only at the end of the content. `from` is how many were read before.
    pub(super) fn read_up_to(&mut self, limit: u64, from: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let done = self.reader.by_ref().take(limit).read_to_end(&mut bytes);
        done.map_err(|e| refused(&self.path, format!("byte {}", from + bytes.len() as u64), e))?;
        Ok(bytes)
    }
}

/// A failed read: the decompressor's complaints are about the file's content, all else is the operating system's.
pub(super) fn refused(path: &Path, place: String, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::data(path, place, format!("a whole gzip stream ({e})"))
        }
        _ => Error::io(path, e),
    }
}
