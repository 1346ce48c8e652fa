//! Train an energy of noisy 28×28 digits at that one noise level, without a ladder, by the three methods from the Gaussian fit.

use crate::images::Images;
use crate::{Context, Experiment, Output};
use jarzynski::Result;
use jarzynski::data;
use jarzynski::model::{Mlp, MlpShape};
use jarzynski::run::Memory;
use jarzynski::tch::Kind;
use jarzynski::train::Optim;
use serde::{Deserialize, Serialize};

/// MNIST 2, 3, 6 at 4 : 2 : 1 (5600, 2800 and 1400 images), the Gaussian fit + MLP, natural gradients; what `mnist` reaches with a
/// ladder. The other images of the classes in MNIST's training file are the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MnistOneLevel(pub Images);

impl Default for MnistOneLevel {
    fn default() -> Self {
        MnistOneLevel(Images {
            net: vec![256, 256],
            mixed: false,
            labels: vec![2, 3, 6],
            counts: vec![5_600, 2_800, 1_400],
            noise: 0.3,
            start: "gaussian".into(),
            sigma: 1.0,
            h: 0.1,
            moves: 3,
            walkers: 1_024,
            steps: 200,
            batch: 1_024,
            optim: Optim::Natural { damping: 1e-3, decay: 0.95, every: 20, momentum: 0.0 },
            lr: 1.0,
            lr_cd: 1e-3,
            multiple_cd: 2,
            ess: 0.95,
            ess_min: 0.5,
            anneal_steps: 300,
            anneal_walkers: 512,
            classifier_steps: 600,
            every: 5,
            seed: 0,
            seeds: 1,
        })
    }
}

impl Experiment for MnistOneLevel {
    const NAME: &'static str = "mnist-one-level";
    const ABOUT: &'static str =
        "28×28 digits at one noise level, without the ladder of `mnist` (needs `make datasets`)";
    const SMALL: &'static str = "net = [8]\nwalkers = 16\nsteps = 2\nmoves = 1\nbatch = 16\nanneal_steps = 2\nanneal_walkers = 16\nclassifier_steps = 2\n\
     counts = [40, 20, 10]\nseeds = 1";
    const DATA: Option<&'static str> = Some("mnist");
    const ON_REQUEST: bool = true;

    fn full() -> Self {
        let MnistOneLevel(small) = MnistOneLevel::default();
        MnistOneLevel(Images {
            walkers: 4_096,
            steps: 1_000,
            anneal_steps: 4_000,
            anneal_walkers: 4_096,
            seeds: 3,
            ..small
        })
    }

    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.0.memory(28 * 28, 60_000))
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let mnist = data::mnist(data::Split::Train)?.scale(-1.0, 1.0)?.on(context.device);
        let sigma = self.0.sigma;
        self.0.compare("MNIST 2, 3, 6", &mnist, context, |seed, start| {
            let shape = MlpShape { widths: self.0.net.clone(), sigma, seed };
            let net = Mlp::new(28 * 28, &shape, Kind::Float, context.device)?;
            let net = if let Some(start) = start { net.with_start(start)? } else { net };
            Ok(if self.0.mixed { net.mixed() } else { net })
        })
    }
}
