//! Files and frames: atomic writes, CSV and Parquet, checkpoints, ArviZ.

pub(crate) mod arviz;
pub(crate) mod checkpoint;
mod difference;
pub(crate) mod disk;
pub(crate) mod files;
mod format;
pub mod frame;
mod home;
mod pages;
mod parquet;

pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::fingerprint;
pub(crate) use difference::difference;
pub(crate) use files::check_name;
pub use files::{read_metadata, write_atomic, write_csv, write_parquet, write_parquet_with, write_table};
pub use format::{escape, grouped};
pub(crate) use home::expand_home;
pub(crate) use parquet::{ParquetFile, read_frame};
