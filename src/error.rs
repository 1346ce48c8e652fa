//! Say what was wrong: the thing, its value, and what was expected.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

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
    /// libtorch refused: most often shapes that do not fit.
    #[error("libtorch: {what}")]
    Torch {
        /// The first line of what it said.
        what: String,
        /// All of it.
        source: Raw,
    },
    /// A table that polars could not make, read or write.
    #[error("table: {what}")]
    Table {
        /// The first line of what polars said.
        what: String,
        /// All of it.
        source: Raw,
    },
    /// A model, a kernel or a callback panicked.
    #[error("{who} panicked: {what}")]
    Panic {
        /// Whose code was called.
        who: &'static str,
        /// The first line of its message, and the line of code where that is known.
        what: String,
        /// All of the message, and the backtrace where `RUST_BACKTRACE` is set.
        source: Raw,
    },
    /// A folder for a new run that holds one already.
    #[error("{dir} holds a run: expected a folder without a run, or `resume_or_start` to go on with it", dir = .dir.display())]
    RunExists {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder that another run is writing to at this moment.
    #[error("{dir} is in use: expected a folder that no other run is writing to at this moment", dir = .dir.display())]
    RunLocked {
        /// The folder.
        dir: PathBuf,
    },
    /// A run that differs from the one that it should continue.
    #[error("{key} = {now}, was {then}: expected the run that is kept in {dir}", dir = .dir.display())]
    RunMismatch {
        /// The folder.
        dir: PathBuf,
        /// The first setting that differs, with dots between the names: `settings.lr`.
        key: String,
        /// Its value when the run was begun, as JSON.
        then: String,
        /// Its value now, as JSON.
        now: String,
    },
}

/// The whole text of an error from below, as it came.
pub type Raw = Box<dyn std::error::Error + Send + Sync>;

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

    /// Somebody's code panicked, with this message.
    pub fn panic(who: &'static str, message: &str) -> Self {
        panicked(who, message, "", "")
    }

    /// The operating system refused something at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        Error::Torch { what: first_line(&e.to_string()), source: e.into() }
    }
}

impl From<polars::error::PolarsError> for Error {
    fn from(e: polars::error::PolarsError) -> Self {
        Error::Table { what: first_line(&e.to_string()), source: e.into() }
    }
}

/// libtorch appends a C++ stack trace to its messages, polars hints: the first line is the message.
fn first_line(s: &str) -> String {
    s.trim().lines().next().unwrap_or("unknown error").to_string()
}

thread_local! {
    /// How many calls of [`guard`] this thread is in.
    static GUARDED: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic inside one happened, and its backtrace where `RUST_BACKTRACE` is set.
    static PLACE: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Keeps panics of guarded calls off the screen; those of other threads and calls go to the hook that was there before.
///
/// The hook belongs to the process, the flag to the thread. Where the library is loaded several times into one process, as by
/// the cells of a notebook, each copy adds a hook that knows its own calls and hands the rest on.
fn silence() {
    static ONCE: Once = Once::new();
    // a hook cannot be set by a thread that is panicking
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.try_with(Cell::get).unwrap_or(0) == 0 {
                return before(info);
            }
            let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
            let trace = std::backtrace::Backtrace::capture();
            let trace = match trace.status() {
                std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
                _ => String::new(),
            };
            let _ = PLACE.try_with(|p| p.replace(Some((place, trace))));
        }));
    });
}

/// Runs `f` and turns a panic in it into an error: [`Error::Torch`] where an operator of tch panicked (they do on shapes that
/// do not fit), [`Error::Table`] where polars did, else [`Error::Panic`]. Nothing is printed.
pub(crate) fn guard<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    guard_of("a model or kernel", f)
}

/// As [`guard`], where `who` is whose code is called.
pub(crate) fn guard_of<T>(who: &'static str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    silence();
    GUARDED.set(GUARDED.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(GUARDED.get() - 1);
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        let (place, trace) = PLACE.take().unwrap_or_default();
        Err(panicked(who, text.unwrap_or("without a message"), &place, &trace))
    })
}

/// The error for a panic with this message at this place (`file:line`).
fn panicked(who: &'static str, text: &str, place: &str, trace: &str) -> Error {
    let within = |library: &str| place.split(['/', '\\']).any(|part| part.starts_with(library));
    let source = || Raw::from(format!("{text}\n{place}{trace}"));
    if let Some(said) = unwrapped(text) {
        return Error::Torch { what: first_line(&said), source: source() };
    }
    if within("tch-") {
        return Error::Torch { what: first_line(text), source: source() };
    }
    if within("polars-") {
        return Error::Table { what: first_line(text), source: source() };
    }
    let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
    Error::Panic { who, what: first_line(text) + &place, source: source() }
}

/// What libtorch said, where the panic is that of an `unwrap` of a [`tch::TchError`].
fn unwrapped(text: &str) -> Option<String> {
    let (_, error) = text.split_once("called `Result::unwrap()` on an `Err` value: ")?;
    let (variant, quoted) = error.split_once("(\"")?;
    if !["Torch", "Convert", "FileFormat", "Kind", "Shape", "TensorNameNotFound"].contains(&variant) {
        return None;
    }
    let (mut said, mut chars) = (String::new(), quoted.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next()? {
                'n' => said.push('\n'),
                't' => said.push('\t'),
                other => said.push(other),
            },
            c => said.push(c),
        }
    }
    Some(said)
}

/// Runs `f` without recording gradients; unlike `tch::no_grad`, restores the mode when `f` panics.
pub(crate) fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    let _guard = tch::no_grad_guard();
    f()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use tch::Tensor;

    fn message(f: impl FnOnce()) -> Error {
        guard(|| {
            f();
            Ok(())
        })
        .unwrap_err()
    }

    #[test]
    fn panics_are_told_apart_by_who_panicked() {
        let torch = message(|| {
            let _ = Tensor::from_slice(&[1.0, 2.0]) + Tensor::from_slice(&[1.0, 2.0, 3.0]);
        });
        assert!(matches!(&torch, Error::Torch { what, .. } if what.starts_with("The size of tensor a")), "{torch:?}");
        assert!(!torch.to_string().contains(['\n', '`']) && !torch.to_string().contains("unwrap"), "{torch}");
        assert!(torch.source().unwrap().to_string().contains("called `Result::unwrap()`"));
        // the caller's own unwrap of something else than libtorch's error is the caller's panic
        let own = message(|| {
            "x".parse::<f64>().unwrap();
        });
        assert!(matches!(own, Error::Panic { .. }), "{own:?}");
        let own = message(|| panic!("one line,\nand another"));
        let place = format!("one line, ({}:", file!());
        assert!(matches!(&own, Error::Panic { what, .. } if what.starts_with(&place)), "{own:?}");
        assert!(
            own.to_string().starts_with("a model or kernel panicked: one line, (") && !own.to_string().contains('\n')
        );
        assert!(own.source().unwrap().to_string().contains("one line,\nand another"));
        let odd = message(|| std::panic::panic_any(3u8));
        assert!(odd.to_string().contains("without a message"), "{odd}");
        let empty = message(|| panic!(""));
        assert!(matches!(empty, Error::Panic { .. }), "{empty:?}");
    }

    #[test]
    fn guarded_panics_are_silent_and_others_reach_the_hook_of_the_caller() {
        // Hooks belong to the process: this test runs alone in a process of its own.
        if std::env::var("JARZYNSKI_HOOK_TEST").is_err() {
            let me = std::env::current_exe().unwrap();
            let name = "error::tests::guarded_panics_are_silent_and_others_reach_the_hook_of_the_caller";
            let mut child = std::process::Command::new(me);
            child.args(["--exact", name]).env("JARZYNSKI_HOOK_TEST", "1").env("RUST_BACKTRACE", "0");
            assert!(child.output().unwrap().status.success());
            return;
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, calls) = (seen.clone(), Arc::new(AtomicUsize::new(0)));
        let count = calls.clone();
        std::panic::set_hook(Box::new(move |info| {
            count.fetch_add(1, Ordering::SeqCst);
            log.lock().unwrap().push(info.to_string());
        }));
        message(|| panic!("guarded"));
        message(|| {
            // nested: the outer call stays guarded after the inner one
            message(|| panic!("inner"));
            panic!("outer");
        });
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{seen:?}");
        let other = std::thread::spawn(|| panic!("on a thread of the caller"));
        assert!(other.join().is_err());
        assert!(catch_unwind(|| panic!("outside")).is_err());
        message(|| panic!("guarded again"));
        let seen = seen.lock().unwrap();
        assert!(seen.len() == 2 && seen[0].contains("thread of the caller") && seen[1].contains("outside"), "{seen:?}");
    }
}
