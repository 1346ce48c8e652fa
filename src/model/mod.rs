//! Collect the models: closed forms that check everything else, neural energies, and paths from noise to data.

pub(crate) mod bridge;
mod coupling_flow;
mod drift_net;
mod flow_net;
mod gaussian;
mod gaussian_path;
mod interpolant;
mod interpolation;
mod ladder_net;
mod mixture;
mod net;
mod noise_ladder;
mod preconditioned;
mod rbm;
pub mod targets;
mod time_mlp;

pub use bridge::Bridge;
pub use coupling_flow::{CouplingFlow, CouplingShape, FlowBridge};
pub use drift_net::{DriftNet, DriftShape, WithDrift, continuity_residual};
pub use flow_net::{FlowNet, FlowShape, Score, Velocity};
pub use gaussian::Gaussian;
pub use gaussian_path::{Coupling, GaussianPath};
pub use interpolant::Interpolant;
pub use interpolation::{Coefficients, Interpolation};
pub use ladder_net::LadderNet;
pub use mixture::Mixture;
pub use net::{Cnn, CnnShape, Mlp, MlpShape, NetEnergy, initialise};
pub(crate) use net::{ZEROS, widths_in_range};
pub use noise_ladder::{LadderShape, NoiseLadder};
pub use preconditioned::Preconditioned;
pub use rbm::{
    Bernoulli, Exact, Ising, Normal, Potts, Rbm, RbmShape, Replicas, Tempered, Tempering, Units, Visible, exact_draws,
    exact_log_z, one_hot,
};
