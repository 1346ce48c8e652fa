//! Say how each method of the race trains: by its name in every table.

use super::RbmMnist;
use jarzynski::train::{Method, Optim, Schedule, Settings, TrustRegion};
use jarzynski::{Error, Result};

/// What a name stands for.
pub(super) struct Recipe {
    pub method: Method,
    /// Sweeps per update.
    pub moves: usize,
    optim: Optim,
    region: Option<TrustRegion>,
}

impl Recipe {
    /// # Errors
    /// A name that is none.
    pub fn named(name: &str, config: &RbmMnist) -> Result<Self> {
        let with = |momentum| Optim::Natural { damping: config.damping, decay: 0.95, every: 20, momentum };
        let natural = with(config.momentum);
        let plain = Optim::Sgd { momentum: 0.0 };
        let weighted = Method::Jarzynski { ess_min: config.ess_min };
        let shrink = Some(TrustRegion::Shrink { ess: config.ess });
        let (word, rest) = name.split_once('-').unwrap_or((name, ""));
        let k = rest.parse().ok().filter(|k| *k > 0);
        let (method, moves, optim, region) = match (word, rest, k) {
            ("jarzynski", "", _) => (weighted, 1, with(0.0), shrink),
            ("jarzynski", "sgd", _) => (weighted, 1, plain, shrink),
            ("jarzynski", "substeps", _) => {
                (weighted, 1, plain, Some(TrustRegion::Substeps { ess: config.ess, max: config.substeps }))
            }
            ("pcd", "natural", _) => (Method::Pcd, 1, natural, shrink),
            ("ptt", "", _) => (Method::Ptt { rate: 0.25 }, 1, natural, shrink),
            ("pcd", _, Some(k)) => (Method::Pcd, k, plain, None),
            ("cd", _, Some(k)) => (Method::Cd { k }, 1, plain, None),
            _ => {
                let expected = "jarzynski, jarzynski-sgd, jarzynski-substeps, pcd-natural, ptt, pcd-k, cd-k";
                return Err(Error::param("methods", name, expected));
            }
        };
        Ok(Recipe { method, moves, optim, region })
    }

    /// For `steps` updates at that rate.
    pub fn settings(&self, config: &RbmMnist, (steps, rate): (usize, f64), rows: usize, seed: u64) -> Settings {
        Settings {
            walkers: config.walkers,
            steps,
            moves: self.moves,
            lr: rate,
            schedule: Schedule::Linear { end: config.end },
            optim: self.optim,
            trust_region: self.region,
            batch: Some(config.batch.min(rows)),
            every: config.every.min(steps.max(1)),
            seed,
            ..Default::default()
        }
    }
}
