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

pub use crate::data::Dataset;
pub use crate::density::{Differentiable, Energy, Model};
pub use crate::display::show;
pub use crate::io::frame::Rows;
pub use crate::kernel::{Escorted, Gibbs, Kernel, Mala, Reversed, Ula};
pub use crate::model::{FlowNet, Gaussian, Interpolant, Mixture, Mlp, MlpShape, Rbm, RbmShape};
pub use crate::numeric::Rng;
#[cfg(feature = "plot")]
pub use crate::plot::{Figure, Panel};
pub use crate::run::{Checkpointing, Run};
pub use crate::sweep::Sweep;
pub use crate::train::{FlowTrainer, Method, Optim, Settings, Trainer, TrustRegion};
pub use crate::transport::{Ais, Transport, anneal, transport};
pub use crate::walkers::{Estimate, Walkers};
pub use tch::{Kind, Tensor};
