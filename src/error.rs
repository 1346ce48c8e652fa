//! Say what was wrong: the thing, its value, and what was expected.

use std::path::{Path, PathBuf};

/// Everything that can go wrong because of what the caller passed or what the machine refused.
///
/// Low ESS and divergence are *not* errors: they are columns of the frame that a run returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter outside its range.
    #[error("{name} = {value}: expected {expected}")]
    Param {
        /// The parameter.
        name: &'static str,
        /// What it was.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A tensor or table of the wrong shape.
    #[error("{name} has shape {got:?}: expected {expected}")]
    Shape {
        /// The tensor or table.
        name: &'static str,
        /// Its shape.
        got: Vec<i64>,
        /// The shape it should have.
        expected: String,
    },
    /// NaN or infinity where a finite number is needed.
    #[error("{what} is not finite {place}")]
    NonFinite {
        /// The quantity.
        what: &'static str,
        /// Where, in words.
        place: String,
    },
    /// A file whose content is not what its format promises; `place` is a line, a byte offset or a column.
    #[error("{file}: {place}: expected {expected}")]
    Data {
        /// The file.
        file: String,
        /// Line, column or byte offset.
        place: String,
        /// What the format promises there.
        expected: String,
    },
    /// The operating system refused.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// libtorch refused, or a model panicked inside it.
    #[error("libtorch: {0}")]
    Torch(String),
    /// polars refused.
    #[error("frame: {0}")]
    Frame(#[from] polars::error::PolarsError),
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A parameter outside its range.
    pub fn param(name: &'static str, value: impl ToString, expected: impl Into<String>) -> Self {
        Error::Param { name, value: value.to_string(), expected: expected.into() }
    }

    /// A file whose content is not what its format promises.
    pub fn data(file: impl AsRef<Path>, place: impl Into<String>, expected: impl Into<String>) -> Self {
        Error::Data { file: file.as_ref().display().to_string(), place: place.into(), expected: expected.into() }
    }

    /// The operating system refused something at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        Error::Torch(first_line(&e.to_string()))
    }
}

/// libtorch appends a C++ stack trace to its messages: the first line is what a person can use.
fn first_line(s: &str) -> String {
    s.lines().next().unwrap_or("unknown error").to_string()
}

/// Runs `f` and turns a panic (tch's operators panic on bad shapes) into an [`Error::Torch`].
pub(crate) fn guard<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(r) => r,
        Err(p) => {
            let text = p.downcast_ref::<String>().map(String::as_str).or(p.downcast_ref::<&str>().copied());
            Err(Error::Torch(first_line(text.unwrap_or("a model or kernel panicked"))))
        }
    }
}

/// Runs `f` without recording gradients; unlike `tch::no_grad`, restores the mode when `f` panics.
pub(crate) fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    let _guard = tch::no_grad_guard();
    f()
}
