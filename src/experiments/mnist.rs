//! Train the 2023 paper's CNN energy on MNIST 2, 3, 6 at 4 : 2 : 1 by the three methods.

use super::images::Images;
use super::{Experiment, Output, Work};
use crate::data;
use crate::error::Result;
use crate::model::{Cnn, CnnShape};
use serde::{Deserialize, Serialize};
use tch::Kind;

/// 5600, 2800 and 1400 images of 28×28, |x|²/2σ² + CNN with 76,993 parameters.
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
            sigma: 1.0,
            h: 0.015,
            moves: 2,
            walkers: 256,
            steps: 1_000,
            batch: 256,
            lr: 5e-4,
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

    fn full() -> Self {
        let Mnist(small) = Mnist::default();
        Mnist(Images { walkers: 1_024, steps: 10_000, anneal_steps: 5_000, anneal_walkers: 1_024, seeds: 3, ..small })
    }

    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn run_in(&self, work: &Work) -> Result<Output> {
        let mnist = data::mnist(data::Split::Train)?.scale(-1.0, 1.0)?.on(work.device);
        let sigma = self.0.sigma;
        self.0.compare("MNIST 2, 3, 6", &mnist, work, |seed| {
            let net = Cnn::new(28, &CnnShape { channels: self.0.net.clone(), sigma, seed }, Kind::Float, work.device)?;
            Ok(if self.0.mixed { net.mixed() } else { net })
        })
    }
}
