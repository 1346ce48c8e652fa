//! Bring in what a session uses: `use jarzynski::prelude::*;`.
//!
//! `Result` and `Error` stay out, because a notebook's cell has its own `Result`: write `jarzynski::Result`.
//!
//! ```
//! use jarzynski::prelude::*;
//! let mut rng = Rng::new(0);
//! let x = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7]).unwrap().sample(100, &mut rng);
//! assert_eq!((x.size(), x.kind()), (vec![100, 1], Kind::Double));
//! ```

pub use crate::data::{Dataset, Toy, bars_and_stripes};
pub use crate::experiments::Experiment;
pub use crate::frame::Rows;
pub use crate::kernel::{
    Arrival, Back, Backward, Contract, Cost, Escorted, FlowKernel, Gibbs, Integrator, Invariant, Kernel, Langevin,
    Mala, Map, Matched, Move, Noise, Ode, Reversed, Split, Step, Sweep, Ula, check_kernel,
};
pub use crate::model::{
    Bipartite, Bridge, Cnn, Coupling, FlowNet, FlowShape, Gaussian, GaussianPath, Interpolant, Interpolation, Mixture,
    Mlp, Rbm, RbmPath, RbmShape, Units,
};
#[cfg(feature = "plot")]
pub use crate::plot::{Figure, Panel};
pub use crate::show::show;
pub use crate::train::View;
pub use crate::{
    Ais, At, Base, Energy, Ensemble, Estimate, Flow, FlowSettings, FlowTrainer, Geometric, Keep, Law, Method, Model,
    Optim, Outcome, Path, Point, Price, Rng, Run, Schedule, Scheme, Settings, Tempering, Trainer, Transport, Tune,
    Update, Walkers, anneal, log_prob, transport, tune,
};
pub use tch::{Device, Kind, Tensor, nn};
