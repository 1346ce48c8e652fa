//! Train the 2023 paper's CNN energy on MNIST 2, 3, 6 at 4 : 2 : 1 by the three methods.

use crate::images::Images;
use crate::{Context, Experiment, Output};
use jarzynski::Result;
use jarzynski::data;
use jarzynski::model::{Cnn, CnnShape};
use jarzynski::tch::Kind;
use jarzynski::train::Optim;
use serde::{Deserialize, Serialize};

/// 5600, 2800 and 1400 images of 28×28, the Gaussian fit + CNN with 76,993 parameters; the other images of the classes in MNIST's
/// training file are the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mnist(pub Images);

impl Default for Mnist {
    fn default() -> Self {
        Mnist(Images {
            net: vec![16, 32, 64, 64],
            mixed: false,
            labels: vec![2, 3, 6],
            counts: vec![5_600, 2_800, 1_400],
            noise: 0.3,
            start: "gaussian".into(),
            sigma: 1.0,
            h: 0.05,
            moves: 2,
            walkers: 256,
            steps: 1_000,
            batch: 256,
            optim: Optim::Adam,
            lr: 5e-4,
            lr_cd: 5e-4,
            multiple_cd: 1,
            ess: 0.95,
            ess_min: 0.5,
            anneal_steps: 1_000,
            anneal_walkers: 256,
            classifier_steps: 600,
            every: 5,
            seed: 0,
            seeds: 1,
        })
    }
}

impl Experiment for Mnist {
    const NAME: &'static str = "mnist";
    const ABOUT: &'static str = "the CNN energy on 28×28 MNIST 2, 3, 6 at 4 : 2 : 1 (needs `make datasets`)";
    const SMALL: &'static str = "net = [2, 2, 4, 4]\nwalkers = 16\nsteps = 2\nmoves = 1\nbatch = 16\nanneal_steps = 2\nanneal_walkers = 16\nclassifier_steps = 2\n\
     counts = [40, 20, 10]\nseeds = 1";
    const DATA: Option<&'static str> = Some("mnist");
    const ON_REQUEST: bool = true;

    fn full() -> Self {
        let Mnist(small) = Mnist::default();
        Mnist(Images { walkers: 1_024, steps: 10_000, anneal_steps: 5_000, anneal_walkers: 1_024, seeds: 3, ..small })
    }

    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let mnist = data::mnist(data::Split::Train)?.scale(-1.0, 1.0)?.on(context.device);
        let sigma = self.0.sigma;
        self.0.compare("MNIST 2, 3, 6", &mnist, context, |seed, start| {
            let net =
                Cnn::new(28, &CnnShape { channels: self.0.net.clone(), sigma, seed }, Kind::Float, context.device)?;
            let net = if let Some(start) = start { net.with_start(start)? } else { net };
            Ok(if self.0.mixed { net.mixed() } else { net })
        })
    }
}
