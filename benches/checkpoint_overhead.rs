//! Measure what a run costs that can be left alone: recording, streaming and checkpoints, and ensembles against single runs.
//!
//! The two sides take turns in one process. `make bench`, or `make bench ARGS='-- --quick'`.

mod timing;

use jarzynski::data::digits;
use jarzynski::model::{Mixture, Mlp, MlpShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Mala, Method, Optim, Reversed, Rng, Settings, Sweep, Trainer, TrustRegion, Ula};
use timing::{Bench, Spent, clock};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

fn main() {
    let bench = Bench::from_args();
    // (A − B) is what a checkpoint with its rows costs: a run of the default settings has one in a minute
    bench.row("digits: checkpoint and row every step / neither", None, |turns| kept(turns.div_ceil(5), Some(1)));
    bench.row("digits: row every 5th step, kept / neither", Some(1.02), |turns| kept(turns.div_ceil(5), None));
    bench.row("8 members on 2 cores / 8 runs, 1 thread each", Some(0.6), |turns| ensemble(turns.div_ceil(5), 1));
    bench.row("8 members on 2 cores / 8 runs, 2 threads each", Some(0.9), |turns| ensemble(turns.div_ceil(5), 2));
}

/// The training of the experiment `digits`, kept in a folder with rows, against itself without either.
fn kept(turns: usize, checkpoints: Option<usize>) -> Vec<(Spent, Spent)> {
    let data = digits().unwrap().select(&[2, 3, 6], &[176, 88, 44]).unwrap().scale(-1.0, 1.0).unwrap().x;
    let data = data.to_kind(Kind::Float);
    let steps = 60;
    let train = |every: usize, dir: Option<&std::path::Path>| {
        let mut net =
            Mlp::new(64, &MlpShape { widths: vec![256, 256], ..Default::default() }, Kind::Float, Device::Cpu).unwrap();
        let settings = Settings {
            walkers: 1_024,
            steps,
            lr: 1e-3,
            optim: Optim::Adam,
            trust_region: Some(TrustRegion::Shrink { ess: 0.95 }),
            data_noise: 0.3.into(),
            every,
            progress: 0.0,
            ..Default::default()
        };
        let mut trainer = Trainer::new(Reversed::sweeps(Mala::new(0.1), 3), JARZYNSKI).settings(settings);
        trainer.checkpointing =
            dir.map(|dir| jarzynski::Checkpointing { steps: checkpoints, ..jarzynski::Checkpointing::new(dir) });
        clock(steps, || assert!(trainer.train(&mut net, &data).unwrap().finished()))
    };
    train(steps, None);
    let turn = |_| {
        let dir = tempfile::tempdir().unwrap();
        (train(checkpoints.unwrap_or(5), Some(dir.path())), train(steps, None))
    };
    (0..turns).map(turn).collect()
}

/// Eight trainings of a 50-dimensional mixture side by side, against one after the other with `threads` each.
fn ensemble(turns: usize, threads: usize) -> Vec<(Spent, Spent)> {
    let at = |v: f64| (0..50).map(|i| if i == 0 { v } else { 0.0 }).collect::<Vec<f64>>();
    let data = Mixture::new(&[at(-3.0), at(3.0)], &[0.3, 0.7]).unwrap().sample(2_000, &mut Rng::new(1));
    let model = || Mixture::new(&[at(-1.0), at(1.0)], &[0.5, 0.5]).unwrap();
    let trainer = || Trainer::new(Ula::new(0.1), JARZYNSKI).walkers(2_000).steps(60).lr(0.02).quiet();
    let alone = |data: &Tensor| {
        let one = |seed| trainer().seed(seed).threads(threads).train(&mut model(), data).unwrap();
        clock(8, || (0..8).for_each(|seed| assert!(one(seed).finished())))
    };
    let together = |data: &Tensor| {
        let member = |m: &jarzynski::sweep::Member<f64>, data: &Tensor| m.trainer(trainer()).train(&mut model(), data);
        let ensemble = Sweep::new(0..8).cores(2).quiet();
        clock(8, || assert_eq!(ensemble.run(&[0.0], data, member).unwrap().members.height(), 8))
    };
    alone(&data);
    (0..turns).map(|_| (together(&data), alone(&data))).collect()
}
