//! All tests that run on every machine, in one binary.

mod alarms;
mod calibration;
mod common;
mod data;
mod diagnose;
mod driver;
mod durable;
mod errors;
mod export;
mod faults;
mod figures;
mod flow_net;
mod flows;
mod kernels;
mod layers;
mod models;
mod rbm;
mod records;
mod resample;
mod resume;
mod run;
mod score_matching;
mod sweep;
mod train;
mod tune;
mod zero_density;
