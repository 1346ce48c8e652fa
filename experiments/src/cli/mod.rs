//! The parts of the command line.

pub mod arguments;
pub mod commands;
pub mod completions;
pub mod doctor;
pub mod new;
pub mod show;
pub mod sweep;
