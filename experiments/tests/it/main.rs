//! The experiments, their results and the command line, in one binary.

mod cli;
mod experiments;
mod project;
mod results;
mod sweep;
