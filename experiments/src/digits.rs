//! Train a neural energy on real 8×8 digits with unbalanced classes by the three methods, and weigh the classes.

use crate::images::Images;
use crate::{Context, Experiment, Output};
use jarzynski::Result;
use jarzynski::data;
use jarzynski::model::{Mlp, MlpShape};
use jarzynski::run::Memory;
use jarzynski::tch::Kind;
use jarzynski::train::Optim;
use serde::{Deserialize, Serialize};

/// Digits 2, 3, 6 at 4 : 2 : 1 (245 images to train on, the other 296 to test), the Gaussian fit + MLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digits(pub Images);

impl Default for Digits {
    fn default() -> Self {
        Digits(Images {
            net: vec![256, 256],
            mixed: false,
            labels: vec![2, 3, 6],
            counts: vec![140, 70, 35],
            noise: 0.3,
            start: "gaussian".into(),
            sigma: 1.0,
            h: 0.1,
            moves: 3,
            walkers: 1_024,
            // beyond it the held-out images get worse while the training images get better
            steps: 130,
            batch: 245,
            optim: Optim::Natural { damping: 1e-3, decay: 0.95, every: 20, momentum: 0.0 },
            lr: 1.0,
            lr_cd: 1e-3,
            multiple_cd: 2,
            ess: 0.95,
            ess_min: 0.5,
            anneal_steps: 300,
            anneal_walkers: 1_024,
            classifier_steps: 600,
            every: 5,
            seed: 0,
            seeds: 3,
        })
    }
}

impl Experiment for Digits {
    const NAME: &'static str = "digits";
    const ABOUT: &'static str = "a neural energy on real 8×8 digits, unbalanced classes, by Jarzynski, PCD and CD";
    const SMALL: &'static str = "net = [8]\nmixed = true\nwalkers = 48\nsteps = 4\nmoves = 1\nanneal_steps = 4\nanneal_walkers = 48\nclassifier_steps = 4\nseeds = 1";

    fn full() -> Self {
        let Digits(small) = Digits::default();
        Digits(Images { walkers: 4_096, anneal_steps: 4_000, anneal_walkers: 4_096, seeds: 5, ..small })
    }

    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.0.memory(64, 1_797))
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let digits = data::digits()?.scale(-1.0, 1.0)?.on(context.device);
        let sigma = self.0.sigma;
        self.0.compare("8×8 digits 2, 3, 6", &digits, context, |seed, start| {
            let net = Mlp::new(64, &MlpShape { widths: self.0.net.clone(), sigma, seed }, Kind::Float, context.device)?;
            let net = if let Some(start) = start { net.with_start(start)? } else { net };
            Ok(if self.0.mixed { net.mixed() } else { net })
        })
    }
}
