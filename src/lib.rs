//! Train and sample energy-based models with Jarzynski reweighting.
//!
//! ρ_θ(x) = e^{−U_θ(x)}/Z_θ. Walkers X_k move under any Markov kernel while θ_k changes; each carries a log-weight A_k
//! with E(g(X_k) e^{A_k}) = (Z_k/Z_0) E_{ρ_k}(g) (Prop. 1), so weighted averages are exact and log Z comes for free.
//!
//! The data flow of every run:
//!
//! ```text
//! base.sample            → X_0 ~ ρ_0 exactly, log Z_0 known, A_0 = 0
//! kernel.forward  at θ_k → y and α = U_k(x) − log f_k(x→y)              pay for leaving
//! θ_k → θ_{k+1}          by an optimiser (train) or along a path (transport)
//! kernel.backward at θ_{k+1} → λ = U_{k+1}(y) − log r_{k+1}(y→x)        pay for arriving
//! walkers.commit         A += α − λ; resample when the ESS is low, banking log mean e^A
//! ```
//!
//! Equation numbers are those of Carbone 2025, "Jarzynski Reweighting and Sampling Dynamics for Training Energy-Based
//! Models"; "guide" is "Hitchhiker's guide on Energy-Based Models". Where the code differs from the print, it says so.

#![warn(missing_docs)]

mod ais;
mod arviz;
mod card;
mod checkpoint;
pub mod data;
mod device;
mod diagnose;
pub mod energy;
pub mod ensemble;
pub mod error;
pub mod experiments;
pub mod export;
pub mod frame;
mod glance;
mod keep;
pub mod kernel;
mod log;
pub mod model;
mod path;
#[cfg(feature = "plot")]
pub mod plot;
mod point;
pub mod prelude;
mod progress;
pub mod record;
mod resample;
mod rng;
mod rows;
mod run;
pub mod show;
mod tail;
mod tempering;
mod threads;
pub mod train;
mod transport;
mod tune;
mod versions;
mod walkers;

pub use ais::Ais;
pub use card::Card;
pub use device::device;
pub use diagnose::Warning;
pub use energy::{Base, Energy, Model};
pub use ensemble::Ensemble;
pub(crate) use error::no_grad;
pub use error::{Error, Result};
pub use glance::{layers, sparkline};
pub use keep::Keep;
pub use kernel::{Back, Escorted, FlowKernel, Gibbs, Kernel, Mala, Matched, Noise, Ode, Reversed, Split, Ula};
pub use path::{At, Flow, Geometric, Path};
#[cfg(feature = "plot")]
pub use plotters;
pub use point::Point;
pub use polars;
pub use resample::Scheme;
pub use rng::Rng;
pub use run::{Outcome, Run, log_prob};
pub use tch;
pub use tempering::{Tempered, Tempering};
pub use train::{FlowSettings, FlowTrainer, Method, Optim, Schedule, Settings, Trainer, Update};
pub use transport::{Passage, Transport, Watcher, anneal, transport};
pub use tune::{Law, Price, Tune, Tuned, tune};
pub use walkers::{Estimate, Walkers};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the other pages compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/leave-it-running.md")]
#[doc = include_str!("../docs/gpu.md")]
struct Pages;
