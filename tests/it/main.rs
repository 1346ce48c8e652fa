//! All tests that run on every machine, in one binary.

mod calibration;
mod cli;
mod common;
mod data;
mod diagnose;
mod experiments;
mod export;
mod faults;
mod figures;
mod flow_net;
mod flows;
mod kernels;
mod models;
mod rbm;
mod records;
mod resample;
mod resume;
mod run;
mod sweep;
mod train;
mod tune;
mod two_layers;
mod zero_density;
