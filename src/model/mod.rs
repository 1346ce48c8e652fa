//! Collect the models: closed forms that check everything else, and neural energies.

mod gaussian;
mod mixture;
mod net;

pub use gaussian::Gaussian;
pub use mixture::Mixture;
pub(crate) use net::initialise;
pub use net::{Cnn, Mlp, NetEnergy};
