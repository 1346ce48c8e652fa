//! Make runs of which something is wrong, one thing at a time, and read what the warnings say; sound runs must be silent.

use jarzynski::io::frame::{column_f64, column_str};
use jarzynski::model::{Interpolant, Mixture};
use jarzynski::tch::Tensor;
use jarzynski::{
    Escorted, Mala, Method, Reversed, Rng, Run, Settings, Trainer, Transport, TrustRegion, Ula, transport,
};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

fn data() -> Tensor {
    Mixture::new(&[vec![-1.5, 0.0], vec![1.5, 0.5]], &[0.3, 0.7]).unwrap().sample(400, &mut Rng::new(3))
}

fn train<K: jarzynski::Kernel<Mixture>>(kernel: K, method: Method, s: Settings) -> Run {
    let mut model = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.0]], &[0.5, 0.5]).unwrap();
    Trainer::new(kernel, method).settings(s).train(&mut model, &data()).unwrap()
}

fn settings() -> Settings {
    Settings { walkers: 1_000, steps: 120, lr: 0.02, progress: 0.0, ..Default::default() }
}

fn codes(run: &Run) -> Vec<&'static str> {
    run.warnings().iter().map(|w| w.code).collect()
}

fn marked(run: &Run, code: &str) -> usize {
    let all = column_str(&run.stats, "warning").unwrap_or_default();
    all.iter().filter(|w| w.split(' ').any(|c| c == code)).count()
}

#[test]
fn sound_runs_are_silent() {
    for kernel in [Ula::new(0.1), Ula::new(0.1).reverse_at(jarzynski::ReverseAt::Old)] {
        let run = train(kernel, JARZYNSKI, Settings { walkers: 20_000, ..settings() });
        assert!(codes(&run).is_empty(), "{:?}", run.warnings());
        assert_eq!(marked(&run, "step"), 0);
        assert!(!run.summary().contains("warning"));
    }
    assert!(codes(&train(Ula::new(0.1), Method::Pcd, settings())).is_empty());
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    assert!(codes(&transport(Escorted::new(0.5), &path, 40, 2_000, 0).unwrap()).is_empty());
}

#[test]
fn a_step_above_its_bound_is_seen_by_the_curvature() {
    // modes of width 1: the curvature at their centres is 1, and h is stable below 2
    let s = Settings { steps: 0, ..settings() };
    let of = |h| column_f64(&train(Ula::new(h), JARZYNSKI, s.clone()).stats, "h_curvature").unwrap()[0];
    assert!((of(0.1) - 0.1).abs() < 0.02, "{}", of(0.1));
    assert!((of(0.2) / of(0.1) - 2.0).abs() < 1e-9);
    let run = train(Ula::new(2.4), JARZYNSKI, Settings { steps: 3, ..settings() });
    assert!(codes(&run).contains(&"step"), "{:?}", run.warnings());
    assert_eq!(marked(&run, "step"), 1);
    assert!(run.summary().contains("warning, step: ULA's step is above its bound"));
}

#[test]
fn few_walkers_by_weight_and_unknown_log_z() {
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let run = transport(Escorted::new(8.0), &path, 8, 1_000, 0).unwrap();
    assert!(codes(&run).contains(&"ess") && marked(&run, "ess") > 0, "{:?}", run.warnings());
    let ess = run.column("ess").unwrap();
    assert_eq!(marked(&run, "ess"), ess.iter().filter(|e| **e < 0.1).count());
    // four walkers leave no lineages to tell an error from, once they are resampled
    let run = Transport::new(Escorted::new(20.0), 40, 4, 0).ess_min(0.9).run(&path).unwrap();
    let (se, resampled) = (run.column("log_z_se").unwrap_or_default(), run.column("resampled").unwrap());
    let first = resampled.iter().position(|r| *r > 0.0).unwrap();
    assert!(se.iter().take(first).all(|s| s.is_finite()) && se.iter().skip(first).all(|s| s.is_nan()), "{se:?}");
    assert!(codes(&run).contains(&"lineages"), "{:?}", run.warnings());
    assert_eq!(marked(&run, "lineages"), 41 - first);
    let z = run.log_z().unwrap();
    assert!(z.se.is_nan() && z.warning == Some("lineages") && !run.summary().contains('±'), "{}", run.summary());
    let left = format!("the walkers descend from {} of those that started", run.column("lineages").unwrap()[first]);
    assert!(run.summary().contains(&left), "{}", run.summary());
    // never without a number to judge
    assert!(codes(&train(Ula::new(0.1), Method::Pcd, Settings { lr: 1.0, ..settings() })).is_empty());
}

#[test]
fn the_bias_of_self_interaction_is_seen() {
    let s = Settings {
        walkers: 100,
        monitor: Some(20_000),
        lr: 0.2,
        steps: 150,
        trust_region: Some(TrustRegion::Unlimited),
        ..settings()
    };
    let run = train(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 }, s);
    let own = run.column("log_z").unwrap();
    let watched = run.column("log_z_monitor").unwrap();
    let last = own.len() - 1;
    assert!(own[last] < watched[last]);
    assert!(codes(&run).contains(&"bias"), "{} {} {:?}", own[last], watched[last], run.warnings());
    assert!(run.warnings().iter().any(|w| w.code == "bias" && w.text.contains("log_z_monitor")));
}

#[test]
fn odd_acceptance_and_idle_rates() {
    for (h, low) in [(12.0, true), (1e-4, false), (0.9, false)] {
        let run = train(Reversed::new(Mala::new(h)), JARZYNSKI, settings());
        let a = run.column("acceptance").unwrap();
        let wanted = if h == 0.9 { None } else { Some("acceptance") };
        assert_eq!(codes(&run).into_iter().find(|c| *c == "acceptance"), wanted, "h = {h}: {a:?}");
        assert_eq!(a[5] < 0.2, low);
    }
    let s = Settings { lr: 500.0, trust_region: Some(TrustRegion::Shrink { ess: 0.999 }), steps: 40, ..settings() };
    let run = train(Ula::new(0.1), JARZYNSKI, s);
    assert!(codes(&run).contains(&"step_fraction"), "{:?}", run.column("step_fraction"));
}

#[test]
fn heavy_tails_of_the_final_weights_are_named() {
    // h beyond λ_min: the weights' variance is infinite (ula-bias)
    let path = Interpolant::new(&[vec![-3.0, 0.0], vec![3.0, 1.0]], &[0.3, 0.7], &[0.3, 0.3]).unwrap();
    let run = Transport::new(Escorted::new(3.0), 4, 5_000, 1).run(&path).unwrap();
    assert!(run.walkers.pareto_k() > 0.7, "{}", run.walkers.pareto_k());
    assert!(codes(&run).contains(&"tail"), "{:?}", run.warnings());
}

#[test]
fn data_far_outside_the_walkers_start_are_named() {
    use jarzynski::model::{Mlp, MlpShape};
    use jarzynski::tch::{Device, Kind};
    // pixels 0 … 255 as a net's data
    let pixels = (Rng::new(1).uniform_tensor(&[200, 16], Kind::Float, Device::Cpu) * 255.0).round();
    let run = |x: &Tensor, sigma: f64, method: Method| {
        let shape = MlpShape { widths: vec![8], sigma, ..Default::default() };
        let mut net = Mlp::new(16, &shape, Kind::Float, Device::Cpu).unwrap();
        let s = Settings { walkers: 50, steps: 5, lr: 1e-6, progress: 0.0, ..Default::default() };
        Trainer::new(Ula::new(0.01), method).settings(s).train(&mut net, x).unwrap()
    };
    for method in [Method::Pcd, Method::Cd { k: 1 }, JARZYNSKI] {
        let far = run(&pixels, 1.0, method);
        let exact = (pixels.square().sum(Kind::Double).double_value(&[]) / (200.0 * 16.0)).sqrt();
        let told = far.column("data_distance").unwrap()[0];
        // the base's variance is measured by 1,024 draws in 16 dimensions
        assert!((told / exact - 1.0).abs() < 5.0 * (0.5f64 / (1_024.0 * 16.0)).sqrt(), "{told} {exact}");
        let warnings = far.warnings();
        let scale = warnings.iter().find(|w| w.code == "scale").unwrap_or_else(|| panic!("{warnings:?}"));
        let words = format!("the data lie {told:.0} standard deviations of the walkers' start away from it");
        assert!(scale.text.contains(&words), "{scale}");
        assert!(scale.step == 0 && marked(&far, "scale") == far.stats.height());
        for near in [run(&(&pixels / 255.0), 1.0, method), run(&pixels, 150.0, method)] {
            assert!(!codes(&near).contains(&"scale"), "{:?}", near.warnings());
            assert!(near.column("data_distance").is_err());
        }
    }
}
