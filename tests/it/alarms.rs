//! Check what a run says when its numbers are not to be trusted, and that it says no number where there is none.

use jarzynski::kernel::{Mala, Reversed};
use jarzynski::model::{Gaussian, Mixture};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{
    Energy, Evaluation, Geometric, Method, Model, Rng, Scheme, Settings, Trainer, Transport, TrustRegion, Ula, Walkers,
};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

/// U = |x − 4|²/(2 · .3²): far from N(0, I), and narrow.
#[derive(Debug)]
struct Far;

impl Energy for Far {
    fn energy(&self, x: &Tensor) -> Tensor {
        ((x - 4.0) / 0.3).square().sum_dim_intlist(-1, false, Kind::Double) * 0.5
    }
}

impl jarzynski::Differentiable for Far {}

fn hurried(ess_min: f64, steps: usize, seed: u64) -> jarzynski::Run {
    let path = Geometric { base: Gaussian::new(&[0.0; 2], &[1.0; 2]).unwrap(), target: Far };
    Transport::new(Reversed::new(Mala::new(0.02)), steps, 1_000, seed).ess_min(ess_min).quiet().run(&path).unwrap()
}

#[test]
fn resampling_erases_no_alarm() {
    let exact = (2.0 * std::f64::consts::PI * 0.09f64).ln();
    for seed in 0..5 {
        for ess_min in [0.0, 0.5] {
            let run = hurried(ess_min, 10, seed);
            let z = run.walkers.log_z();
            let far = if ess_min > 0.0 { z.se.is_nan() } else { (z.value - exact).abs() > 5.0 * z.se };
            assert!(far && (z.value - exact).abs() > 1.0, "the annealing is too fast: {z}, exact {exact}");
            let codes: Vec<&str> = run.warnings().iter().map(|w| w.code).collect();
            assert!(codes.contains(&"tail"), "threshold {ess_min}: {codes:?}");
            assert!(codes.contains(&"ess") || ess_min > 0.0, "{codes:?}");
            assert_eq!(codes.contains(&"lineages"), ess_min > 0.0, "{codes:?}");
        }
    }
    // a careful annealing of the same path says nothing of the kind
    let path = Geometric {
        base: Gaussian::new(&[0.0; 2], &[1.0; 2]).unwrap(),
        target: Gaussian::new(&[0.3; 2], &[0.9; 2]).unwrap(),
    };
    let run = Transport::new(Reversed::new(Mala::new(0.02)), 50, 1_000, 0).ess_min(0.5).quiet().run(&path).unwrap();
    assert!(run.warnings().is_empty(), "{:?}", run.warnings());
}

#[test]
fn an_estimate_carries_the_warning_of_its_run() {
    let hurried = hurried(0.0, 10, 0).log_z().unwrap();
    assert!(hurried.warning.is_some() && hurried.to_string().contains("(warning: "), "{hurried}");
    let target = Gaussian::new(&[0.3; 2], &[0.9; 2]).unwrap();
    let path = Geometric { base: Gaussian::new(&[0.0; 2], &[1.0; 2]).unwrap(), target };
    let run = Transport::new(Reversed::new(Mala::new(0.02)), 50, 1_000, 0).quiet().run(&path).unwrap();
    let calm = run.log_z().unwrap();
    assert!(calm.warning.is_none() && !calm.to_string().contains("warning"), "{calm}");
}

#[test]
fn a_probability_that_no_walker_met_has_a_bound() {
    let run = hurried(0.0, 10, 0);
    let n = run.walkers.len() as f64 * run.walkers.ess();
    let x = run.walkers.x().select(1, 0);
    let never = run.walkers.mean(&x.gt(100.0)).unwrap();
    assert_eq!((never.value, never.se), (0.0, 3.0 / n));
    let always = run.walkers.mean(&x.lt(100.0)).unwrap();
    assert_eq!((always.value, always.se), (1.0, 3.0 / n));
    // where some walkers meet it, an indicator is what its numbers are
    let met = x.gt(x.median().double_value(&[]));
    let even = Walkers::new(run.walkers.into_evaluation(), 0.0);
    let some = even.mean(&met).unwrap();
    assert_eq!(some, even.mean(&met.to_kind(Kind::Double)).unwrap());
    assert!(some.se > 0.0 && some.value > 0.4 && some.value < 0.6);
}

#[test]
fn lineages_are_counted_through_resamplings() {
    let x = Rng::new(1).normal(&[64, 1], Kind::Double, Device::Cpu);
    let u = x.square().view([-1]) * 0.5;
    let mut walkers = Walkers::new(Evaluation::new(x.shallow_clone(), u.shallow_clone(), x.shallow_clone()), 0.0);
    assert_eq!(walkers.lineages(), 64);
    let mut rng = Rng::new(2);
    let before = walkers.x().copy();
    for _ in 0..4 {
        let tilt = walkers.x().view([-1]) * 2.0;
        let at =
            Evaluation::new(walkers.x().shallow_clone(), walkers.evaluation().u.copy(), walkers.x().shallow_clone());
        walkers.commit(at, &tilt, &tilt.zeros_like());
        walkers.resample(Scheme::Systematic, &mut rng);
        // walkers do not move, so that their values tell their ancestors
        let mut values = Vec::<f64>::try_from(walkers.x().view([-1])).unwrap();
        values.sort_by(f64::total_cmp);
        values.dedup();
        assert_eq!(walkers.lineages(), values.len());
    }
    assert!(walkers.lineages() < 64 && before.size() == [64, 1]);
}

fn data() -> Tensor {
    Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7]).unwrap().sample(400, &mut Rng::new(1))
}

/// A net's base is not its distribution here: the start has weights.
fn model() -> Mixture {
    Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap()
}

fn settings() -> Settings {
    Settings { walkers: 200, steps: 20, lr: 0.05, progress: 0.0, ..Default::default() }
}

#[test]
fn walkers_without_weights_have_none_and_no_log_z() {
    for method in [Method::Pcd, Method::Cd { k: 1 }] {
        let run = Trainer::new(Ula::new(0.1), method).settings(settings()).train(&mut model(), &data()).unwrap();
        assert!((run.walkers.ess() - 1.0).abs() < 1e-12);
        assert!(run.log_z().is_none() && run.walkers.log_z().value.is_nan());
        assert!(!run.walkers.describe().contains("log Z"));
        assert!(run.log_prob(&model(), &data()).is_err());
    }
}

#[test]
fn training_walkers_alone_tell_no_log_z() {
    let alone = Settings { monitor: Some(0), ..settings() };
    let mut trained = model();
    let run = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(alone).train(&mut trained, &data()).unwrap();
    assert!(run.log_z().is_none());
    let e = run.log_prob(&trained, &data()).unwrap_err().to_string();
    assert!(e.contains("monitor") && e.contains("anneal"), "{e}");
    let run = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings()).train(&mut trained, &data()).unwrap();
    let (told, z) = (run.log_z().unwrap(), run.monitor.as_ref().unwrap().log_z());
    assert_eq!((told.value, told.se), (z.value, z.se));
    assert!(z.se > 0.0 && run.column("log_z_monitor_se").is_ok());
    // nor have they a bar where they are shown beside the monitor, in memory or from a folder
    let dir = tempfile::tempdir().unwrap();
    let kept = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings()).resume_or_start(dir.path().join("run"));
    let run = kept.train(&mut model(), &data()).unwrap();
    for walkers in [&run.walkers, &jarzynski::Run::open(dir.path().join("run")).unwrap().walkers] {
        let own = walkers.log_z();
        assert!(own.value.is_finite() && own.se.is_nan() && own.warning == Some("bias"), "{own}");
        assert!(!walkers.describe().contains('±') && walkers.describe().contains("(warning: bias)"));
    }
    assert!(run.column("log_z").is_ok() && run.column("log_z_se").is_err());
    for name in ["lineages", "lineages_monitor"] {
        let left = run.column(name).unwrap();
        assert!(left[0] == 200.0 && left.windows(2).all(|w| w[1] <= w[0]), "{name}: {left:?}");
    }
}

#[test]
fn a_single_walker_has_no_error_bar() {
    let run = hurried(0.0, 10, 1);
    assert!(run.walkers.log_z().se > 0.0);
    let path = Geometric { base: Gaussian::new(&[0.0; 2], &[1.0; 2]).unwrap(), target: Far };
    let one = Transport::new(Reversed::new(Mala::new(0.02)), 10, 1, 1).quiet().run(&path).unwrap();
    assert!(one.walkers.log_z().se.is_nan() && one.walkers.mean(&one.walkers.x().select(1, 0)).unwrap().se.is_nan());
}

#[test]
fn settings_that_do_not_apply_are_refused() {
    let cases: [(&str, Method, Settings); 11] = [
        ("monitor = 10 for pcd", Method::Pcd, Settings { monitor: Some(10), ..settings() }),
        ("monitor = 10 for cd", Method::Cd { k: 1 }, Settings { monitor: Some(10), ..settings() }),
        ("moves = 2 for cd", Method::Cd { k: 1 }, Settings { moves: 2, ..settings() }),
        ("scheme = Residual for pcd", Method::Pcd, Settings { scheme: Scheme::Residual, ..settings() }),
        ("stratified = true for cd", Method::Cd { k: 1 }, Settings { stratified: true, ..settings() }),
        (
            "trust_region = ",
            Method::Pcd,
            Settings { trust_region: Some(TrustRegion::Substeps { ess: 0.9, max: 9 }), ..settings() },
        ),
        ("group_lr = ", JARZYNSKI, Settings { group_lr: vec![1.0; 3], ..settings() }),
        ("batch = 401", JARZYNSKI, Settings { batch: Some(401), ..settings() }),
        ("rate = 1", Method::Ptt { rate: 1.0 }, settings()),
        ("method = ptt", Method::Ptt { rate: 0.3 }, settings()),
        ("every = 21", JARZYNSKI, Settings { every: 21, ..settings() }),
    ];
    for (name, method, settings) in cases {
        let e = Trainer::new(Ula::new(0.1), method).settings(settings).train(&mut model(), &data()).unwrap_err();
        assert!(e.to_string().starts_with(name), "{e} should begin with {name}");
    }
    let e = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings()).keep_best().train(&mut model(), &data());
    assert!(e.unwrap_err().to_string().starts_with("keep_best"));
}

#[test]
fn curvature_is_watched_by_update_whatever_is_recorded() {
    let watched = |every| {
        let s = Settings { every, steps: 200, monitor: Some(0), ..settings() };
        let run = Trainer::new(Ula::new(3.0), JARZYNSKI).settings(s).train(&mut model(), &data()).unwrap();
        run.column("h_curvature").unwrap().into_iter().filter(|v| v.is_finite()).fold(0.0, f64::max)
    };
    assert_eq!(watched(1).to_bits(), watched(50).to_bits());
    assert!(watched(50) > 2.0);
}

#[test]
fn held_out_data_have_columns_of_their_own_and_keep_the_best_model() {
    let fresh = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7]).unwrap().sample(300, &mut Rng::new(9));
    // a rate that overshoots, so that the last model is not the best
    let s = Settings { lr: 1.5, steps: 40, batch: Some(20), ..settings() };
    let trainer = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(s).validation(&fresh, 5);
    let mut last = model();
    let run = trainer.train(&mut last, &data()).unwrap();
    let (energy, all) = (run.column("energy_validation").unwrap(), run.column("cross_entropy_validation").unwrap());
    assert_eq!(energy.iter().filter(|v| v.is_finite()).count(), 9);
    let mean = |m: &Mixture| m.energy(&fresh).mean(Kind::Double).double_value(&[]);
    assert_eq!(energy[40], mean(&last));
    assert_eq!(all[40], energy[40] + run.log_z().unwrap().value);
    let lowest = all.iter().filter(|v| v.is_finite()).fold(f64::INFINITY, |a, b| a.min(*b));
    assert!(lowest < all[40]);
    let mut best = model();
    let run = trainer.keep_best().train(&mut best, &data()).unwrap();
    let at = all.iter().position(|v| *v == lowest).unwrap();
    assert_eq!(mean(&best), energy[at]);
    assert!(run.walkers.is_empty() && run.log_z().is_none());
}

#[test]
fn annealing_with_the_seed_of_a_training_draws_other_numbers() {
    let (mut a, mut b) = (model(), model());
    let trained = Trainer::new(Ula::new(0.1), JARZYNSKI).settings(Settings { steps: 0, ..settings() });
    let start = trained.train(&mut a, &data()).unwrap();
    let annealed = jarzynski::anneal(Ula::new(1e-12), &b, 1, 200, 0).unwrap();
    let gap = (start.walkers.x() - annealed.walkers.x()).abs().min().double_value(&[]);
    assert!(gap > 1e-5, "the same walkers: {gap}");
    assert!(b.vars_mut().len() == a.vars().len());
}
