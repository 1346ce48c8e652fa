//! Hold every run, whatever it is given, to an error, a cause or a complete table: no panic, no hang, no wrong row.

use jarzynski::kernel::{Mala, Reversed};
use jarzynski::model::{Gaussian, Mixture, Mlp, MlpShape, Rbm, RbmShape};
use jarzynski::tch::{Device, Kind, Tensor, nn};
use jarzynski::{
    Base, Checkpointing, DataNoise, Energy, Error, Evaluation, Gibbs, Kernel, Method, Model, Optim, Outcome, Path,
    Result, Rng, Run, Schedule, Settings, StepView, Trainer, Transport, TrustRegion, Ula, Walkers, anneal,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

// ------------------------------------------------------------------------------------------- any configuration at all

#[derive(Debug, Clone)]
struct Case {
    method: Method,
    mala: bool,
    h: f64,
    settings: Settings,
}

/// A number from 0 to 10^`most`, and now and then what is none.
fn number(most: f64) -> impl Strategy<Value = f64> {
    let odd = prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, f64::MAX, 5e-324]);
    prop_oneof![90 => (-6.0..most).prop_map(|e| 10f64.powf(e)), 9 => Just(0.0), 1 => odd]
}

/// A fraction, and now and then one that is out of range.
fn fraction() -> impl Strategy<Value = f64> {
    let odd = prop::sample::select(vec![-0.1, 1.1, f64::NAN, f64::INFINITY]);
    prop_oneof![60 => 0.01..0.99, 2 => Just(0.0), 2 => Just(1.0), 1 => odd]
}

fn count(most: usize) -> impl Strategy<Value = usize> {
    prop_oneof![100 => 1..most, 1 => Just(0)]
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        4 => fraction().prop_map(|ess_min| Method::Jarzynski { ess_min }),
        1 => Just(Method::Pcd),
        1 => count(3).prop_map(|k| Method::Cd { k }),
    ]
}

fn update() -> impl Strategy<Value = Option<TrustRegion>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(TrustRegion::Unlimited)),
        1 => fraction().prop_map(|ess| Some(TrustRegion::Shrink { ess })),
        1 => (fraction(), count(6)).prop_map(|(ess, max)| Some(TrustRegion::Substeps { ess, max })),
    ]
}

fn optim() -> impl Strategy<Value = Optim> {
    prop_oneof![
        2 => number(0.0).prop_map(|momentum| Optim::Sgd { momentum }),
        1 => Just(Optim::Adam),
        1 => number(1.0).prop_map(|weight_decay| Optim::AdamW { weight_decay }),
        1 => Just(Optim::RmsProp),
        1 => (number(2.0), fraction(), count(5), fraction())
            .prop_map(|(damping, decay, every, momentum)| Optim::Natural { damping, decay, every, momentum }),
    ]
}

fn schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        2 => Just(Schedule::Constant),
        1 => number(1.0).prop_map(|end| Schedule::Linear { end }),
        1 => number(1.0).prop_map(|end| Schedule::Cosine { end }),
        1 => (count(4), number(1.0)).prop_map(|(every, factor)| Schedule::Step { every, factor }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let size = (count(50), 0..7usize, count(4), count(5), any::<u64>());
    // one in four is out of all proportion
    let rate = || prop_oneof![3 => number(6.0), 1 => number(200.0)];
    let step = prop_oneof![3 => (-6.0..1.0).prop_map(|e| 10f64.powf(e)), 1 => number(120.0)];
    let rates = (rate(), prop::collection::vec(number(2.0), 0..3), schedule(), optim(), step);
    let rest = (
        update(),
        prop::option::of(number(2.0)),
        prop::option::of(count(30)),
        number(0.0),
        prop::option::of(0..30usize),
        any::<bool>(),
    );
    (method(), any::<bool>(), size, rates, rest).prop_map(|(method, mala, size, rates, rest)| {
        let (walkers, steps, moves, every, seed) = size;
        let (lr, group_lr, schedule, optim, h) = rates;
        let (update, clip, batch, data_noise, monitor, stratified) = rest;
        // what does not apply to a method is refused: most cases are to go beyond that
        let (weighted, contrastive) = (matches!(method, Method::Jarzynski { .. }), matches!(method, Method::Cd { .. }));
        let apply = seed % 8 != 0;
        let monitor = monitor.filter(|_| weighted || !apply);
        let (moves, stratified) = if contrastive && apply { (1, false) } else { (moves, stratified) };
        let update = update.filter(|_| weighted || !apply);
        let every = if apply { every.min(steps.max(1)) } else { every };
        let batch = batch.map(|n| if apply { n.min(20) } else { n });
        let settings = Settings {
            walkers,
            monitor,
            steps,
            moves,
            lr,
            group_lr,
            schedule,
            optim,
            trust_region: update,
            clip,
            // as random as the noise, and as often wrong
            regularisation: if stratified { data_noise } else { 0.0 },
            batch,
            data_noise: data_noise.into(),
            stratified,
            every,
            seed,
            progress: 0.0,
            ..Default::default()
        };
        Case { method, mala, h, settings }
    })
}

/// Whether every parameter is in its range, as the documentation gives it.
fn in_range(case: &Case, groups: usize, rows: usize, factors: bool) -> bool {
    let s = &case.settings;
    let rate = |v: f64| v >= 0.0 && v.is_finite();
    let open = |v: f64| v > 0.0 && v < 1.0;
    let bounded = match s.trust_region {
        None | Some(TrustRegion::Unlimited) => false,
        Some(_) => true,
    };
    let method = match case.method {
        Method::Jarzynski { ess_min } => (0.0..=1.0).contains(&ess_min),
        Method::Pcd => !matches!(s.trust_region, Some(TrustRegion::Substeps { .. })),
        Method::Cd { k } => k > 0 && !bounded,
        _ => unreachable!(),
    };
    let update = match s.trust_region {
        None | Some(TrustRegion::Unlimited) => true,
        Some(TrustRegion::Shrink { ess }) => open(ess),
        Some(TrustRegion::Substeps { ess, max }) => open(ess) && max > 0,
        Some(_) => unreachable!(),
    };
    let schedule = match s.schedule {
        Schedule::Constant => true,
        Schedule::Linear { end } | Schedule::Cosine { end } => (0.0..=1e6).contains(&end),
        Schedule::Step { every, factor } => every > 0 && factor > 0.0 && factor.is_finite(),
        _ => unreachable!(),
    };
    let optim = match s.optim {
        Optim::Sgd { momentum: v } | Optim::AdamW { weight_decay: v } => v.is_finite(),
        Optim::Adam | Optim::RmsProp => true,
        Optim::Natural { damping, decay, every, momentum } => {
            let shares = (0.0..1.0).contains(&decay) && (0.0..1.0).contains(&momentum);
            damping > 0.0 && damping.is_finite() && every > 0 && shares && factors && s.clip.is_none()
        }
        _ => unreachable!(),
    };
    let counts = [s.walkers, s.moves, s.every, s.batch.unwrap_or(1)].iter().all(|n| *n > 0);
    let groups = s.group_lr.len() <= groups;
    let weighted = matches!(case.method, Method::Jarzynski { .. });
    let contrastive = matches!(case.method, Method::Cd { .. });
    let applies = (weighted || s.monitor.unwrap_or(0) == 0) && (!contrastive || (s.moves == 1 && !s.stratified));
    let fits = s.batch.unwrap_or(1) <= rows && (s.every <= s.steps || s.steps == 0);
    let noise = match s.data_noise {
        DataNoise::Gaussian(sigma) => sigma,
        _ => unreachable!(),
    };
    let rates = [s.lr, s.regularisation, noise].iter().chain(&s.group_lr).all(|v| rate(*v));
    let clip = s.clip.is_none_or(|c| c > 0.0);
    counts && groups && applies && fits && rates && clip && method && update && schedule && optim
}

fn step_in_range(case: &Case) -> bool {
    case.h > 0.0 && case.h.is_finite()
}

/// Rows that are due before step k.
fn due(k: usize, every: usize) -> usize {
    k.div_ceil(every)
}

fn holds(what: &str, condition: bool) -> std::result::Result<(), TestCaseError> {
    if condition { Ok(()) } else { Err(TestCaseError::fail(what.to_string())) }
}

/// What every run that comes back as `Ok` promises.
fn judge(case: &Case, run: &Run) -> std::result::Result<(), TestCaseError> {
    let s = &case.settings;
    let weighted = matches!(case.method, Method::Jarzynski { .. });
    let column = |name: &str| run.column(name).unwrap_or_default();
    let (step, height) = (column("step"), run.stats.height());
    match &run.outcome {
        Outcome::Finished => {
            holds("all rows are there", height == due(s.steps, s.every) + 1)?;
            holds("the last row is of the last step", step[height - 1] == s.steps as f64)?;
            holds("energies are finite at the end", run.walkers.is_finite())?;
        }
        Outcome::Diverged { step: at, cause } => {
            holds("a cause is given", !cause.is_empty() && *at <= s.steps)?;
            holds("the rows before are there", [0, 1].contains(&(height - due(*at, s.every))))?;
        }
        Outcome::Paused { .. } => holds("nobody asked it to pause", false)?,
        other => holds(&format!("an unknown outcome {other:?}"), false)?,
    }
    holds("steps rise from 0", step.first().is_none_or(|k| *k == 0.0) && step.windows(2).all(|w| w[0] < w[1]))?;
    for name in ["energy_data", "energy_walkers"] {
        holds(name, height == 0 || column(name).len() == height && column(name).iter().all(|v| v.is_finite()))?;
    }
    let fractions = |name: &str| column(name).iter().all(|v| *v > 0.0 && *v <= 1.0 + 1e-12);
    holds("ess", fractions("ess") && column("ess").len() == if weighted { height } else { 0 })?;
    holds("ess_monitor", fractions("ess_monitor"))?;
    let watched = weighted && s.monitor != Some(0);
    holds("a monitor where one was asked for", run.monitor.is_some() == watched)?;
    holds("a summary", run.summary().contains(&run.label))
}

fn sweep<M: Model>(seed: u8, data: &Tensor, model: impl Fn() -> M, attempt: impl Fn(&Case, &mut M) -> Result<Run>) {
    let config = Config { cases: 300, failure_persistence: None, max_shrink_iters: 200, ..Default::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let (finished, diverged, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |of: &Cell<u32>| of.set(of.get() + 1);
    let groups = {
        let model = model();
        let held = model.vars().variables_.lock().unwrap();
        held.trainable_variables.iter().map(|v| v.group + 1).max().unwrap()
    };
    let factors = model().fisher(&model().evaluate(&data.to_kind(model().options().0))).is_some();
    let outcome = runner.run(&case(), |case| {
        let mut model = model();
        let result = catch_unwind(AssertUnwindSafe(|| attempt(&case, &mut model)));
        let result = result.map_err(|_| TestCaseError::fail("it panicked"))?;
        let good = in_range(&case, groups, data.size()[0] as usize, factors);
        match result {
            Err(e @ Error::Param { .. }) => {
                add(&refused);
                holds(&format!("refused although all is in range: {e}"), !good || !step_in_range(&case))
            }
            Err(e) => Err(TestCaseError::fail(format!("an error that names no parameter: {e}"))),
            Ok(run) => {
                add(if run.finished() { &finished } else { &diverged });
                holds("accepted although a parameter is out of range", good)?;
                judge(&case, &run)
            }
        }
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
    let all = [&finished, &diverged, &refused].map(Cell::get);
    println!("{} rows of data: {all:?} finished, diverged, refused", data.size()[0]);
    assert!(all.iter().all(|n| *n > 20), "a sweep that does not see all of it: {all:?}");
}

fn with_gradient<M: Model + jarzynski::Differentiable>(case: &Case, model: &mut M, data: &Tensor) -> Result<Run> {
    let s = case.settings.clone();
    match case.mala {
        false => Trainer::new(Ula::new(case.h), case.method).settings(s).train(model, data),
        true => Trainer::new(Reversed::new(Mala::new(case.h)), case.method).settings(s).train(model, data),
    }
}

fn mixture() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap()
}

fn points(n: usize) -> Tensor {
    Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7]).unwrap().sample(n, &mut Rng::new(1))
}

#[test]
fn any_configuration_on_a_mixture() {
    let data = points(25);
    sweep(1, &data, mixture, |case, model| with_gradient(case, model, &data));
}

#[test]
fn any_configuration_on_a_net() {
    let data = points(24).to_kind(Kind::Float);
    let net = || Mlp::new(2, &MlpShape { widths: vec![8], sigma: 2.0, seed: 3 }, Kind::Float, Device::Cpu).unwrap();
    sweep(2, &data, net, |case, model| with_gradient(case, model, &data));
}

#[test]
fn any_configuration_on_a_boltzmann_machine() {
    let data = Rng::new(5).uniform_tensor(&[23, 6], Kind::Float, Device::Cpu).round();
    let shape = |case: &Case| RbmShape { hidden: 4, scale: 0.3, centred: case.mala, ..Default::default() };
    let rbm = || Rbm::bernoulli(&data, &RbmShape { hidden: 4, scale: 0.3, ..Default::default() }).unwrap();
    sweep(3, &data, rbm, |case, model| {
        *model = Rbm::bernoulli(&data, &shape(case)).unwrap();
        // noise on binary data is for the energy to bear, and none of the kernel's parameters can be wrong
        Trainer::new(Gibbs::new(), case.method).settings(case.settings.clone()).train(model, &data)
    });
}

// -------------------------------------------------------------------------------------------- an energy that goes wrong

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// U = NaN everywhere.
    Nan,
    /// U = ∞ everywhere.
    Infinite,
    /// U = ∞ for all walkers but the first, not for the data.
    AllButOne,
    /// U is finite, ∇U is NaN.
    Slope,
    /// U is finite, ∂_θU is NaN.
    Theta,
    /// One row too few.
    Short,
    /// A column instead of a list.
    Column,
    Panic,
}

/// Points of data for a model that goes wrong.
const DATA: i64 = 20;

/// U in one place and with one fault; `zero` is a parameter of value 0.
fn spoiled(u: Tensor, x: &Tensor, zero: &Tensor, fault: Fault) -> Tensor {
    // value 0, slope 0/0
    let kink = |t: &Tensor| (t - t.detach()).abs().sqrt().sum(t.kind());
    match fault {
        Fault::None => u,
        Fault::Nan => u * f64::NAN,
        Fault::Infinite => u * 0.0 + f64::INFINITY,
        Fault::AllButOne => {
            let (wall, n) = (u.zeros_like(), u.size()[0]);
            if n != DATA {
                let _ = wall.narrow(0, 1, n - 1).fill_(f64::INFINITY);
            }
            u + wall
        }
        Fault::Slope => u + kink(x),
        Fault::Theta => u + kink(zero),
        Fault::Short => u.narrow(0, 1, u.size()[0] - 1),
        Fault::Column => u.unsqueeze(-1),
        Fault::Panic => panic!("the model gave up"),
    }
}

/// N(m, 1) in 1-D, until it is told to go wrong.
#[derive(Debug)]
struct Spoiled {
    vs: nn::VarStore,
    m: Tensor,
    fault: Cell<Fault>,
}

impl Spoiled {
    fn new(fault: Fault) -> Self {
        let vs = nn::VarStore::new(Device::Cpu);
        let m = vs.root().zeros("m", &[1]);
        Spoiled { vs, m, fault: Cell::new(fault) }
    }
}

impl jarzynski::Differentiable for Spoiled {}

impl Energy for Spoiled {
    fn energy(&self, x: &Tensor) -> Tensor {
        let u = (x - &self.m).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        spoiled(u, x, &self.m, self.fault.get())
    }
}

impl Model for Spoiled {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(1, 1.0, Kind::Float, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        1
    }
}

fn settings() -> Settings {
    Settings { walkers: 10, steps: 8, lr: 0.01, progress: 0.0, ..Default::default() }
}

fn line(n: i64) -> Tensor {
    Rng::new(4).normal(&[n, 1], Kind::Float, Device::Cpu) + 0.5
}

/// Trains a model that goes wrong once the row of step 3 is written.
fn spoil<K: Kernel<Spoiled>>(kernel: K, method: Method, fault: Fault) -> Run {
    let mut model = Spoiled::new(Fault::None);
    let trainer = Trainer::new(kernel, method).settings(settings());
    let mut observe = |view: &jarzynski::StepView<Spoiled>| {
        if view.step == 3 {
            view.model.fault.set(fault);
        }
        vec![]
    };
    trainer.train_with(&mut model, &line(DATA), &mut observe).unwrap()
}

fn diverged(run: &Run) -> (usize, &str) {
    match &run.outcome {
        Outcome::Diverged { step, cause } => (*step, cause),
        other => panic!("{other:?}"),
    }
}

/// Steps of all rows, and that their energies are numbers.
fn assert_rows(run: &Run, steps: usize, what: &str) {
    let expected: Vec<f64> = (0..steps).map(|k| k as f64).collect();
    assert_eq!(run.column("step").unwrap(), expected, "{what}");
    assert!(run.column("energy_walkers").unwrap().iter().all(|v| v.is_finite()), "{what}");
}

#[test]
fn an_energy_that_goes_wrong_ends_the_run_with_its_step_rows_and_cause() {
    for method in [Method::Jarzynski { ess_min: 0.0 }, Method::Pcd] {
        for (fault, says) in [
            (Fault::Nan, "walkers are not finite after update 4"),
            (Fault::Infinite, "walkers are not finite after update 4"),
            (Fault::AllButOne, "walkers are not finite after update 4"),
            (Fault::Panic, "the model gave up"),
        ] {
            let what = format!("{method:?} {fault:?}");
            for run in [spoil(Ula::new(0.1), method, fault), spoil(Reversed::new(Mala::new(0.1)), method, fault)] {
                let (step, cause) = diverged(&run);
                assert!(step == 3 && cause.contains(says), "{what}: {step} {cause}");
                assert_rows(&run, 4, &what);
            }
        }
        // the arrival of update 3 has the graph from which the gradient of update 4 comes: its row says so
        let run = spoil(Ula::new(0.1), method, Fault::Theta);
        let (step, cause) = diverged(&run);
        assert!(step == 4 && cause == "gradient norm is NaN", "{step} {cause}");
        assert_rows(&run, 5, "θ");
        assert!(run.column("grad_norm").unwrap()[4].is_nan());
        let run = spoil(Ula::new(0.1), method, Fault::Short);
        assert_eq!(diverged(&run).0, 3);
        assert_rows(&run, 4, "short");
    }
    // contrastive divergence starts from the data at every update
    for (fault, says) in [(Fault::Nan, "energy of the data is NaN"), (Fault::Panic, "the model gave up")] {
        let run = spoil(Ula::new(0.1), Method::Cd { k: 1 }, fault);
        let (step, cause) = diverged(&run);
        assert!(step == 4 && cause.contains(says), "{step} {cause}");
        assert_rows(&run, 4, "CD");
    }
}

#[test]
fn resampling_saves_the_one_walker_whose_energy_is_finite() {
    for run in [
        spoil(Ula::new(0.1), JARZYNSKI, Fault::AllButOne),
        spoil(Reversed::new(Mala::new(0.1)), JARZYNSKI, Fault::AllButOne),
    ] {
        assert!(run.finished(), "{:?}", run.outcome);
        assert_rows(&run, 9, "resampled");
        assert_eq!(run.column("resampled").unwrap()[3..], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        // nine tenths of the mass are lost at every update
        for name in ["log_z", "log_z_monitor"] {
            let z = run.column(name).unwrap();
            let lost: Vec<f64> = z[3..].windows(2).map(|z| z[0] - z[1] - 10f64.ln()).collect();
            assert!(lost.iter().all(|l| l.abs() < 0.5), "{name} {lost:?}");
        }
        assert!(run.warnings().iter().any(|w| w.code == "lineages"), "{:?}", run.warnings());
    }
}

#[test]
fn a_gradient_that_is_nan_moves_nobody_silently() {
    let run = spoil(Ula::new(0.1), JARZYNSKI, Fault::Slope);
    let (step, cause) = diverged(&run);
    // y under update 4 is the last finite place: its own gradient is NaN
    assert!(step <= 4 && cause.contains("not finite"), "{step} {cause}");
    assert_rows(&run, step + 1, "ULA");
    // MALA refuses every such move, and its acceptance says so
    let run = spoil(Reversed::new(Mala::new(0.1)), JARZYNSKI, Fault::Slope);
    assert!(run.finished(), "{:?}", run.outcome);
    let acceptance = run.column("acceptance").unwrap();
    assert!(acceptance[2] > 0.5 && acceptance[5..].iter().all(|a| *a == 0.0), "{acceptance:?}");
}

#[test]
fn an_energy_that_is_wrong_at_the_start_is_an_error() {
    for (fault, says) in [
        (Fault::Nan, "energy is not finite at the walkers' start"),
        (Fault::Infinite, "energy is not finite at the walkers' start"),
        (Fault::AllButOne, "energy is not finite at the walkers' start"),
        (Fault::Short, "energy has shape [9]: expected [10] for 10 walkers"),
        (Fault::Column, "energy has shape [10, 1]: expected [10] for 10 walkers"),
        (Fault::Panic, "the model gave up"),
    ] {
        for method in [JARZYNSKI, Method::Pcd, Method::Cd { k: 1 }] {
            let trainer = Trainer::new(Ula::new(0.1), method).settings(settings());
            let e = trainer.train(&mut Spoiled::new(fault), &line(DATA)).unwrap_err().to_string();
            assert!(e.contains(says), "{method:?} {fault:?}: {e}");
        }
        if let Fault::AllButOne = fault {
            // walls everywhere but at one walker: a path may end so, and the log Z says how little is left
            let run = anneal(Ula::new(0.1), &Spoiled::new(fault), 5, 10, 0).unwrap();
            let z = run.column("log_z").unwrap();
            assert!(run.warnings().iter().any(|w| w.code == "lineages"), "{:?}", run.warnings());
            assert!(z[0].is_finite() && z[z.len() - 1] < z[0] - 2.0, "{z:?}");
            continue;
        }
        let e = anneal(Ula::new(0.1), &Spoiled::new(fault), 5, 10, 0).unwrap_err().to_string();
        let says = match fault {
            Fault::Nan | Fault::Infinite => "energy is not finite at the path's end, t = 1",
            // added to the base's [10], a tensor of another shape fails or grows
            Fault::Short => "size of tensor",
            Fault::Column => "energy has shape [10, 10]",
            _ => says,
        };
        assert!(e.contains(says), "{fault:?}: {e}");
    }
}

#[test]
fn an_observer_that_panics_ends_the_run_with_the_rows_before() {
    let trainer = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings());
    let mut observe = |view: &jarzynski::StepView<Spoiled>| {
        assert!(view.step < 2, "seen enough");
        vec![("own".to_string(), 1.0)]
    };
    let run = trainer.train_with(&mut Spoiled::new(Fault::None), &line(DATA), &mut observe).unwrap();
    let (step, cause) = diverged(&run);
    assert!(step == 2 && cause.contains("seen enough"), "{step} {cause}");
    assert_rows(&run, 2, "observer");
}

#[test]
fn a_kept_run_that_diverged_is_opened_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let s = Settings { trust_region: Some(TrustRegion::Unlimited), steps: 200, ..settings() };
    let trainer = Trainer::new(Ula::new(1e3), JARZYNSKI).settings(s).checkpointing(Checkpointing::new(dir.path()));
    let run = trainer.train(&mut mixture(), &points(20)).unwrap();
    assert!(!diverged(&run).1.is_empty());
    let opened = Run::open(dir.path()).unwrap();
    assert_eq!((&opened.outcome, opened.stats.height()), (&run.outcome, run.stats.height()));
}

// --------------------------------------------------------------------------------------------- weights that are all but gone

/// A standard normal whose walkers but the first `alive` are thrown off a cliff: U stays finite, |∇U|² overflows, and the
/// weights become e^{−∞}.
#[derive(Debug)]
struct Cliff {
    vs: nn::VarStore,
    m: Tensor,
    alive: i64,
}

impl Cliff {
    fn new(alive: i64) -> Self {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let m = vs.root().zeros("m", &[1]);
        vs.double();
        Cliff { vs, m, alive }
    }
}

impl jarzynski::Differentiable for Cliff {}

impl Energy for Cliff {
    fn energy(&self, x: &Tensor) -> Tensor {
        ((x - &self.m).square() * 0.5).clamp_max(50.0).sum_dim_intlist(-1, false, None::<Kind>)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        jarzynski::tch::no_grad(|| {
            let g = x - &self.m;
            let n = x.size()[0];
            if n > self.alive {
                let _ = g.narrow(0, self.alive, n - self.alive).fill_(1e200);
            }
            Evaluation::new(x.shallow_clone(), self.energy(x), g)
        })
    }
}

impl Model for Cliff {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(1, 1.0, Kind::Double, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        1
    }
}

#[test]
fn all_weights_but_one_at_minus_infinity_are_an_ess_of_one_walker() {
    let data = line(DATA).to_kind(Kind::Double);
    let train = |alive, ess_min| {
        let s = Settings { walkers: 20, ..settings() };
        let trainer = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min }).settings(s);
        trainer.train(&mut Cliff::new(alive), &data).unwrap()
    };
    let run = train(1, 0.0);
    assert!(run.finished(), "{:?}", run.outcome);
    assert_rows(&run, 9, "one alive");
    let a = Vec::<f64>::try_from(run.walkers.log_weights()).unwrap();
    assert!(a[0].is_finite() && a[1..].iter().all(|a| *a == f64::NEG_INFINITY), "{a:?}");
    for name in ["ess", "ess_monitor"] {
        let ess = run.column(name).unwrap();
        assert!((ess[0] - 1.0).abs() < 1e-15 && ess[1..].iter().all(|e| (e - 0.05).abs() < 1e-15), "{name} {ess:?}");
    }
    assert!(run.column("log_z").unwrap().iter().all(|z| z.is_finite()));
    let samples = run.walkers.samples(30, &mut Rng::new(0));
    assert!((samples - run.walkers.x().select(0, 0)).abs().max().double_value(&[]) == 0.0, "only the living are drawn");
    assert!(run.warnings().iter().any(|w| w.code == "ess"));
    // resampled at once, all of them stand where the living one stood
    let run = train(1, 0.5);
    assert!(run.finished(), "{:?}", run.outcome);
    assert_eq!(run.column("resampled").unwrap()[1..], [1.0; 8]);
    // nobody left
    let run = train(0, 0.5);
    assert!(diverged(&run).1.contains("not finite after update 1"));
    assert_rows(&run, 1, "none alive");
}

// ------------------------------------------------------------------------------------------------- small and empty things

#[test]
fn one_walker_no_step_no_data() {
    let data = points(20);
    let run = |s: Settings| Trainer::new(Ula::new(0.1), JARZYNSKI).settings(s).train(&mut mixture(), &data).unwrap();
    let alone = run(Settings { walkers: 1, monitor: Some(1), ..settings() });
    assert!(alone.finished());
    assert_eq!(alone.column("ess").unwrap(), [1.0; 9]);
    assert!(alone.column("log_z").unwrap().iter().all(|z| z.is_finite()));
    assert!(alone.walkers.pareto_k().is_nan() && alone.samples(3, &mut Rng::new(0)).size() == [3, 2]);
    let still = run(Settings { steps: 0, ..settings() });
    assert!(still.finished());
    assert_rows(&still, 1, "no step");
    let none = |size: &[i64]| Tensor::zeros(size, (Kind::Double, Device::Cpu));
    for data in [none(&[0, 2]), none(&[0]), none(&[2]), none(&[]), none(&[3, 0]), none(&[0, 0]), Tensor::new()] {
        let size = data.size();
        let trainer = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings());
        let e = trainer.train(&mut mixture(), &data).unwrap_err().to_string();
        assert!(e.starts_with("data has shape"), "{size:?}: {e}");
    }
    let nobody = Walkers::new(Evaluation::new(none(&[0, 2]), none(&[0]), none(&[0, 2])), 0.0);
    assert_eq!(nobody.samples(5, &mut Rng::new(0)).size(), [0, 2]);
}

#[test]
fn data_that_are_not_finite_are_refused_with_their_row() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for row in [0, 511, 512, 1_299] {
            for kind in [Kind::Double, Kind::Float] {
                let data = points(1_300).to_kind(kind);
                let _ = data.narrow(0, row, 1).narrow(1, 1, 1).fill_(bad);
                let trainer = Trainer::new(Ula::new(0.1), Method::Pcd).settings(settings());
                let e = trainer.train(&mut mixture(), &data).unwrap_err().to_string();
                assert_eq!(e, format!("data is not finite in row {row}"));
            }
        }
    }
    // finite, but not in the model's kind
    let mut net = Mlp::new(2, &MlpShape { widths: vec![8], sigma: 2.0, seed: 3 }, Kind::Float, Device::Cpu).unwrap();
    let trainer = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings());
    let e = trainer.train(&mut net, &(points(5) * 1e300)).unwrap_err().to_string();
    assert_eq!(e, "data is not finite in row 0");
}

#[test]
fn steps_and_rates_that_blow_up_have_a_cause() {
    let data = points(20);
    let train =
        |kernel: Ula, method, s: Settings| Trainer::new(kernel, method).settings(s).train(&mut mixture(), &data);
    let free = Settings { trust_region: Some(TrustRegion::Unlimited), ..settings() };
    let far = "energy or log-weights of the walkers are not finite after update ";
    for lr in [1e10, 1e100, 1e300, f64::MAX] {
        for optim in [Optim::Sgd { momentum: 0.9 }, Optim::Adam, Optim::RmsProp] {
            let run = train(Ula::new(0.1), Method::Pcd, Settings { lr, optim, ..free.clone() }).unwrap();
            assert!(run.finished() || diverged(&run).1.starts_with(far), "{lr} {:?}", run.outcome);
            assert!(run.column("energy_data").unwrap().iter().all(|v| v.is_finite()));
        }
    }
    let run = train(Ula::new(0.1), Method::Pcd, Settings { lr: 1e300, ..free.clone() }).unwrap();
    assert!(diverged(&run).1.starts_with(far), "{:?}", run.outcome);
    // the last row of contrastive divergence too belongs to walkers that have just moved
    for steps in [0, 3] {
        let run = train(Ula::new(1e300), Method::Cd { k: 2 }, Settings { steps, ..free.clone() }).unwrap();
        let (step, cause) = diverged(&run);
        assert!(step == 0 && cause.contains("energy of the walkers"), "{step} {cause}");
        assert_eq!(run.stats.height(), 0);
    }
    let e = train(Ula::new(0.1), JARZYNSKI, Settings { optim: Optim::Sgd { momentum: f64::NAN }, ..free.clone() });
    assert!(e.unwrap_err().to_string().contains("optim.momentum = NaN"));
    let e = train(Ula::new(0.1), JARZYNSKI, Settings { optim: Optim::AdamW { weight_decay: f64::INFINITY }, ..free });
    assert!(e.unwrap_err().to_string().contains("optim.weight_decay = inf"));
    // a setting that is in range must not end a run
    let run = train(Ula::new(0.1), JARZYNSKI, Settings { progress: 1e300, ..settings() }).unwrap();
    assert!(run.finished(), "{:?}", run.outcome);
}

// -------------------------------------------------------------------------------------------------------- along a path

/// From one normal law to itself, with a fault while t is in (.35, .65).
#[derive(Debug)]
struct Pothole {
    base: Gaussian,
    fault: Fault,
    zero: Tensor,
}

impl Pothole {
    fn new(fault: Fault) -> Self {
        let base = Gaussian::isotropic(1, 1.0, Kind::Double, Device::Cpu).unwrap();
        Pothole { base, fault, zero: Tensor::zeros([1], (Kind::Double, Device::Cpu)) }
    }
}

impl jarzynski::Differentiable for Pothole {}

impl Path for Pothole {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let fault = if t > 0.35 && t < 0.65 { self.fault } else { Fault::None };
        spoiled(self.base.energy(x), x, &self.zero, fault)
    }
}

#[test]
fn a_path_that_goes_wrong_ends_the_run_with_its_step_rows_and_cause() {
    for (fault, says) in [
        (Fault::Nan, "not finite"),
        (Fault::Infinite, "no walker has weight"),
        (Fault::Short, ""),
        (Fault::Column, ""),
        (Fault::Panic, "the model gave up"),
    ] {
        let path = Pothole::new(fault);
        let runs = [
            Transport::new(Ula::new(0.1), 10, 12, 0).ess_min(0.9).run(&path),
            Transport::new(Reversed::new(Mala::new(0.1)), 10, 12, 0).run(&path),
            Transport::new(Ula::new(0.1), 10, 12, 0).every(2).run(&path),
        ];
        for (run, rows) in runs.into_iter().zip([4, 4, 2]) {
            let run = run.unwrap();
            let (step, cause) = diverged(&run);
            // the step from .3 to .4 cannot be finished
            assert!(step == 3 && !cause.is_empty() && cause.contains(says), "{fault:?}: {step} {cause}");
            assert_eq!(run.stats.height(), rows, "{fault:?}");
            assert!(run.column("log_z").unwrap().iter().all(|z| z.is_finite()));
        }
        let e = Transport::new(Ula::new(0.1), 10, 12, 0).adapted(&path, 10, 12).unwrap_err().to_string();
        assert!(!e.is_empty() && e.contains(says), "{fault:?}: {e}");
        // what identifies a path for a later continuation is asked inside the hole
        let dir = tempfile::tempdir().unwrap();
        let narrow = Transport::new(Ula::new(0.1), 10, 12, 0).checkpointing(dir.path()).run(&path).unwrap();
        assert_eq!(diverged(&narrow).0, 3);
        assert_eq!(Run::open(dir.path()).unwrap().stats.height(), 4);
    }
    let run = Transport::new(Ula::new(0.1), 10, 12, 0).run(&Pothole::new(Fault::Slope)).unwrap();
    assert!(diverged(&run).0 <= 4 && diverged(&run).1.contains("not finite"));
    let run = Transport::new(Reversed::new(Mala::new(0.1)), 10, 12, 0).run(&Pothole::new(Fault::Slope)).unwrap();
    let acceptance = run.column("acceptance").unwrap();
    assert!(run.finished() && acceptance[6] == 0.0 && acceptance[10] > 0.5, "{acceptance:?}");
}

/// Wrong everywhere but at t = 0 and 1: where a kept run asks what path it is on.
#[derive(Debug)]
struct Trap(Gaussian);

impl jarzynski::Differentiable for Trap {}

impl Path for Trap {
    fn base(&self) -> &dyn Base {
        &self.0
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        assert!(t == 0.0 || t == 1.0, "no way through {t}");
        self.0.energy(x)
    }
}

#[test]
fn transports_refuse_what_they_cannot_do() {
    let good = || Pothole::new(Fault::None);
    let new = |steps, n| Transport::new(Ula::new(0.1), steps, n, 0);
    let e = |t: Transport<Ula>| t.run(&good()).unwrap_err().to_string();
    assert!(e(new(0, 5)).contains("steps = 0"));
    assert!(e(new(5, 0)).contains("walkers = 0"));
    assert!(e(new(5, 5).every(0)).contains("every = 0"));
    assert!(e(new(5, 5).ess_min(f64::NAN)).contains("ess_min = NaN"));
    assert!(e(new(5, 5).times(&[])).contains("times = []"));
    assert!(e(new(5, 5).times(&[0.0, f64::NAN, 1.0])).contains("times = [0, NaN, 1]"));
    assert!(e(new(5, 5).times(&[0.0, 0.5, 0.5, 1.0])).contains("times"));
    for progress in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(e(Transport { progress, ..new(5, 5) }).contains("progress = "));
    }
    let lonely = new(5, 1).ess_min(1.0).run(&good()).unwrap();
    assert!(lonely.finished() && lonely.column("ess").unwrap() == [1.0; 6]);
    let trap = || Trap(Gaussian::isotropic(1, 1.0, Kind::Double, Device::Cpu).unwrap());
    assert!(diverged(&new(5, 5).run(&trap()).unwrap()).1.contains("no way through 0.2"));
    let dir = tempfile::tempdir().unwrap();
    let e = new(5, 5).checkpointing(dir.path()).run(&trap()).unwrap_err().to_string();
    assert!(e.contains("no way through 0.3"), "{e}");
}

#[test]
fn a_watcher_that_panics_ends_the_run_with_the_rows_before() {
    let path = Pothole::new(Fault::None);
    for (kept, last) in [(false, 0), (false, 3), (true, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let mut transport = Transport::new(Ula::new(0.1), 10, 12, 0);
        transport.checkpointing = kept.then(|| Checkpointing::new(dir.path()));
        let mut watch = |at: &StepView<_>| {
            assert!(at.step < last, "seen {}", at.step);
            vec![("own".to_string(), at.t)]
        };
        let run = transport.run_with(&path, &mut watch).unwrap();
        let (step, cause) = diverged(&run);
        assert!(step == last && cause.contains(&format!("seen {last}")), "{cause}");
        assert_eq!(run.stats.height(), last);
        if kept {
            let opened = Run::open(dir.path()).unwrap();
            assert_eq!(opened.outcome, run.outcome);
            assert_eq!(opened.column("own").unwrap(), run.column("own").unwrap());
        }
    }
}

#[test]
fn walkers_in_a_wall_have_no_weight_and_are_replaced_where_resampling_is_asked_for() {
    let path = Pothole::new(Fault::AllButOne);
    let check = |run: Run, resampled: bool| {
        assert!(run.finished(), "{:?}", run.outcome);
        assert_rows(&run, 11, "one alive");
        assert!(run.column("log_z").unwrap().iter().all(|z| z.is_finite()));
        let (ess, a) = (run.column("ess").unwrap(), Vec::<f64>::try_from(run.walkers.log_weights()).unwrap());
        assert!(run.walkers.is_finite() && run.warnings().iter().any(|w| w.code == "ess"));
        if resampled {
            assert!(a.iter().all(|a| a.is_finite()) && run.walkers.resamplings() >= 3);
        } else {
            assert!(ess[4..].iter().all(|e| (e - 1.0 / 12.0).abs() < 1e-15), "{ess:?}");
            assert!(a[0].is_finite() && a[1..].iter().all(|a| *a == f64::NEG_INFINITY), "{a:?}");
        }
    };
    check(Transport::new(Ula::new(0.1), 10, 12, 0).run(&path).unwrap(), false);
    check(Transport::new(Reversed::new(Mala::new(0.1)), 10, 12, 0).run(&path).unwrap(), false);
    check(Transport::new(Ula::new(0.1), 10, 12, 0).ess_min(0.9).run(&path).unwrap(), true);
    check(Transport::new(Reversed::new(Mala::new(0.1)), 10, 12, 0).ess_min(0.5).run(&path).unwrap(), true);
}
