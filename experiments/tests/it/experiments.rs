//! Run the experiments at smoke size, through their configurations, and judge their tables by closed forms.

use jarzynski::density::Whiten;
use jarzynski::io::frame::{column_f64, column_str, distinct, filter};
use jarzynski::polars::prelude::DataFrame;
use jarzynski::tch::Kind;
use jarzynski::{Energy, Method, Rng};
use jarzynski_experiments::{
    Experiment, Output, Size, bracket::Brackets, configure, continuous::Continuous, digits::Digits,
    divergences::Divergences, find, flow_exact::FlowExact, flow_learned::FlowLearned, flow_order::FlowOrder,
    flow_tune::FlowTune, gaussian_rbm::GaussianRbm, generative::GenerativeComparison, mixture::MixtureModes,
    quick::Quick, rbm_exact::RbmExact, rbm_kernels::RbmKernels, rbm_mnist::RbmMnist, registry,
    sampler_bench::SamplerBench, ula_bias::UlaBias,
};

const FAR: f64 = 5.0;

fn run<E: Experiment>(overrides: &str) -> Output {
    configure::<E>(&overrides.parse().unwrap(), Size::Usual).unwrap().run().unwrap()
}

fn refusal<E: Experiment>(overrides: &str) -> String {
    let text = match configure::<E>(&overrides.parse().unwrap(), Size::Usual) {
        Ok(config) => config.run().map(|_| ()).unwrap_err().to_string(),
        Err(e) => e.to_string(),
    };
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

fn columns(df: &DataFrame) -> Vec<&str> {
    df.get_column_names().into_iter().map(|c| c.as_str()).collect()
}

/// Each row's distance from column `to`, in its standard errors.
fn z(df: &DataFrame, to: &str) -> Vec<f64> {
    let read = |name| column_f64(df, name).unwrap();
    let (value, se, exact) = (read("value"), read("se"), read(to));
    (0..value.len()).map(|i| if value[i] == exact[i] { 0.0 } else { (value[i] - exact[i]) / se[i] }).collect()
}

fn near(z: &[f64]) -> bool {
    !z.is_empty() && z.iter().all(|z| z.abs() < FAR)
}

#[test]
fn every_experiment_is_found_by_its_name_and_shows_its_configuration() {
    for entry in registry::ALL {
        let found = find(entry.name).unwrap();
        let text = found.config(&Default::default(), Size::Usual).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert!(table.contains_key("seed") && table.contains_key("seeds"), "{}: {text}", entry.name);
        assert!(
            found.config(&Default::default(), Size::Small).unwrap() != text,
            "{}: SMALL is the default",
            entry.name
        );
        // What it shows, it accepts.
        assert_eq!(found.config(&table, Size::Full).unwrap(), text);
        assert!(!entry.about.is_empty());
    }
    let e = find("mixtrue").unwrap_err().to_string();
    assert!(e.contains("mixtrue") && e.contains("ula-bias"), "{e}");
}

#[test]
fn the_documentation_lists_what_is_registered() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, registry::markdown()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, registry::markdown(), "UPDATE=1 cargo test -p jarzynski-experiments --test it documentation");
}

#[test]
fn reweighting_removes_the_bias_of_ula() {
    let out = run::<UlaBias>("h = [0.1, 0.2]\nsteps = 60\nwalkers = 20_000\nseeds = 3");
    let moments = out.get("moments").unwrap();
    assert_eq!(columns(moments), ["case", "method", "quantity", "value", "se", "exact", "biased", "ess"]);
    assert_eq!(moments.height(), 2 * 7);
    let (plain, reweighted) =
        (filter(moments, "method", "plain").unwrap(), filter(moments, "method", "reweighted").unwrap());
    assert_eq!(column_str(&reweighted, "quantity").unwrap()[..4], ["cov_00", "cov_01", "cov_11", "log_z"]);
    assert_eq!(reweighted.column("biased").unwrap().null_count(), 8);
    assert_eq!(plain.column("biased").unwrap().null_count(), 0);
    assert!(near(&z(&reweighted, "exact")), "{reweighted}");
    assert!(near(&z(&plain, "biased")), "{plain}");

    // Reject twins: plain averages are not exact, weighted ones not those of ULA's own distribution.
    for case in ["h=0.1", "h=0.2"] {
        let of = |df: &DataFrame| filter(&filter(df, "case", case).unwrap(), "quantity", "cov_11").unwrap();
        assert!(z(&of(&plain), "exact")[0] > FAR, "{case}: plain must be off");
        let (right, own) = (of(&reweighted), column_f64(&of(&plain), "biased").unwrap()[0]);
        let read = |name| column_f64(&right, name).unwrap()[0];
        assert!((read("value") - own) / read("se") < -FAR, "{case}: reweighted must leave ULA's own distribution");
    }

    // Σ and [G](73) by matrix algebra of their own: Σ = R diag(1, ¼) Rᵀ at 30°, B⁻¹ = Σ⁻¹ − (h/2)Σ⁻².
    let square = |m: [f64; 3]| [m[0] * m[0] + m[1] * m[1], m[0] * m[1] + m[1] * m[2], m[1] * m[1] + m[2] * m[2]];
    let inverse = |m: [f64; 3]| {
        let det = m[0] * m[2] - m[1] * m[1];
        [m[2] / det, -m[1] / det, m[0] / det]
    };
    let sigma = [13.0 / 16.0, 3.0 * 3f64.sqrt() / 16.0, 7.0 / 16.0];
    let precision = inverse(sigma);
    for (i, h) in [0.1, 0.2].into_iter().enumerate() {
        let two = square(precision);
        let own = inverse([0, 1, 2].map(|q| precision[q] - 0.5 * h * two[q]));
        for q in 0..3 {
            assert!((column_f64(&plain, "biased").unwrap()[3 * i + q] - own[q]).abs() < 1e-13);
            assert!((column_f64(&plain, "exact").unwrap()[3 * i + q] - sigma[q]).abs() < 1e-15);
        }
    }
    assert!((column_f64(&reweighted, "exact").unwrap()[3] - std::f64::consts::PI.ln()).abs() < 1e-15);
    let ess = column_f64(&reweighted, "ess").unwrap();
    assert!(ess[0] > ess[4] && ess[4] > 0.5 && ess[0] < 1.0, "{ess:?}");
}

#[test]
fn ula_bias_refuses_what_has_no_answer() {
    for (overrides, named) in [
        ("hh = 0.1", "hh"),
        ("walkers = \"many\"", "walkers"),
        ("walkers = 1.5", "walkers"),
        ("h = [\"a\"]", "h ("),
        ("eigenvalues = [1.0]", "eigenvalues"),
        ("walkers = 0", "walkers"),
        ("seeds = 0", "seeds"),
        ("h = []", "h = none"),
        ("h = 0.25", "h = 0.25"),
        ("h = -0.1", "h = -0.1"),
        ("eigenvalues = [1.0, -1.0]", "eigenvalues = -1"),
        ("angle = inf", "angle"),
        ("steps = 10", "steps = 10: expected at least 228"),
    ] {
        let text = refusal::<UlaBias>(overrides);
        assert!(text.contains(named), "{overrides}: {text}");
    }
    // A single value stands for a list of one, an integer for a float.
    let config: UlaBias = configure(&"h = 0.1\nangle = 45".parse().unwrap(), Size::Usual).unwrap();
    assert_eq!((config.h, config.angle), (vec![0.1], 45.0));
}

/// ρ₁ at x, and the posterior of the left mode under ρ₂ in closed form: g = σ(z − 10x).
fn trapezoid(z: f64, h: f64) -> [f64; 2] {
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let steps = (20.0 / h) as i64;
    let mut sum = [0.0; 2];
    for i in -steps..=steps {
        let x = i as f64 * h;
        let normal = |m: f64| (-0.5 * (x - m) * (x - m)).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let density = 0.5 * (normal(-5.0) + normal(5.0));
        // ρ₂/ρ₁ = 2[σ(z) g + (1 − σ(z))(1 − g)] and ∇log ρ₁ − ∇log ρ₂ = −10 (g₁ − g₂).
        let ratio = 2.0 * (sigmoid(z) * sigmoid(-10.0 * x) + sigmoid(-z) * sigmoid(10.0 * x));
        sum[0] -= density * ratio.ln() * h;
        sum[1] += density * (10.0 * (sigmoid(-10.0 * x) - sigmoid(z - 10.0 * x))).powi(2) * h;
    }
    sum
}

fn exact_curves(summary: &DataFrame, points: usize) -> Vec<[f64; 2]> {
    let (names, exact) = (column_str(summary, "quantity").unwrap(), column_f64(summary, "exact").unwrap());
    assert_eq!(names[..2], ["kl", "fisher"]);
    (0..points).map(|i| [exact[2 * i], exact[2 * i + 1]]).collect()
}

#[test]
fn quadrature_agrees_with_another_rule_and_with_bounds() {
    let out = run::<Divergences>("z_max = 12.0\npoints = 7\nn = [10]\nseeds = 2\ndraws = 10");
    let curves = exact_curves(out.get("summary").unwrap(), 7);
    assert_eq!(curves[0], [0.0, 0.0]);
    let normal_5 = 2.866515718791939e-7; // Φ(−5)
    for (i, [kl, fisher]) in curves.into_iter().enumerate().skip(1) {
        let z = 2.0 * i as f64;
        let (fine, coarse) = (trapezoid(z, 0.005), trapezoid(z, 0.01));
        for (value, q) in [(kl, 0), (fisher, 1)] {
            let noise = 2.0 * (fine[q] - coarse[q]).abs() + 1e-12 * value;
            assert!((value - fine[q]).abs() <= noise, "z = {z}: {value} against {}", fine[q]);
        }
        // Forgetting which mode x came from, or keeping only its sign, can but lower the divergence of the masses.
        let sigma = 1.0 / (1.0 + (-z).exp());
        let binary = |q: f64| -0.5 * (4.0 * q * (1.0 - q)).ln();
        assert!(kl <= binary(sigma) * (1.0 + 1e-14));
        assert!(kl >= binary(sigma * (1.0 - normal_5) + (1.0 - sigma) * normal_5) * (1.0 - 1e-14));
        assert!(fisher > 0.0 && fisher < 50.0);
    }
    // z → ∞: 100 E(1 − g)² = 50 − 100 E g(1 − g), and E g(1 − g) ≤ ¼ ∫√(φ₋φ₊) = ¼ e^{−25/2}.
    let out = run::<Divergences>("z_max = 300.0\npoints = 2\nn = [10]\nseeds = 2\ndraws = 10");
    let [_, fisher] = exact_curves(out.get("summary").unwrap(), 2)[1];
    assert!(fisher < 50.0 + 1e-12 && fisher > 50.0 - 25.0 * (-12.5f64).exp(), "{fisher}");
}

#[test]
fn kl_is_estimated_and_fisher_is_not() {
    let out = run::<Divergences>("points = 5\nn = [100, 1000]\nseeds = 5");
    let (rows, summary) = (out.get("divergences").unwrap(), out.get("summary").unwrap());
    assert_eq!(columns(rows), ["z", "n", "seed", "kl", "fisher"]);
    assert_eq!(columns(summary), ["case", "method", "quantity", "value", "se", "exact"]);
    assert_eq!((rows.height(), summary.height()), (5 * 2 * 5, 5 * 2 * 2));
    assert_eq!(column_str(summary, "case").unwrap()[2], "z=2.5, N=100");
    assert_eq!(column_str(summary, "method").unwrap(), ["plain"; 20]);
    // At z = 0 the two laws are one: every draw contributes nothing.
    let still = filter(rows, "z", "0.0").unwrap();
    assert!(still.height() == 10 && column_f64(&still, "kl").unwrap().iter().all(|v| *v == 0.0));
    assert!(column_f64(&still, "fisher").unwrap().iter().all(|v| *v == 0.0));

    let kl = filter(summary, "quantity", "kl").unwrap();
    assert!(near(&z(&kl, "exact")), "{kl}");
    // As printed, without 1/N, [G](48) estimates N times that.
    let (value, se, exact) =
        (column_f64(&kl, "value").unwrap(), column_f64(&kl, "se").unwrap(), column_f64(&kl, "exact").unwrap());
    assert!((1..5).all(|i| (100.0 * value[i] - exact[i]) / (100.0 * se[i]) > FAR));
    // The Fisher estimate misses the region that matters, and its own error bar cannot know: far below the exact value.
    let fisher = filter(summary, "quantity", "fisher").unwrap();
    let far = z(&fisher, "exact");
    assert!((1..5).all(|i| far[i] < -FAR), "{fisher}");
    let fisher_exact = column_f64(&fisher, "exact").unwrap();
    assert!((1..5).all(|i| exact[i] > 1e3 * fisher_exact[i]), "three orders of magnitude between them up to z = 10");
}

#[test]
fn the_histogram_is_of_the_density() {
    let out = run::<Divergences>("points = 2\nn = [10]\nseeds = 1\ndraws = 20_000");
    let bins = out.get("histogram").unwrap();
    assert_eq!(columns(bins), ["left", "right", "density", "se", "exact"]);
    let read = |name| column_f64(bins, name).unwrap();
    let (left, right, density, se, exact) = (read("left"), read("right"), read("density"), read("se"), read("exact"));
    // Counts below 25 are not normal enough for a z-score.
    let common: Vec<usize> = (0..left.len()).filter(|&i| exact[i] * (right[i] - left[i]) * 20_000.0 > 25.0).collect();
    assert!(common.len() > 30);
    for i in common {
        assert!(
            ((density[i] - exact[i]) / se[i]).abs() < FAR,
            "bin {}..{}: {} {}",
            left[i],
            right[i],
            density[i],
            exact[i]
        );
    }
}

#[test]
fn divergences_refuses_what_has_no_answer() {
    for (overrides, named) in [
        ("zmax = 1.0", "zmax"),
        ("n = \"all\"", "n ("),
        ("n = [1]", "n = 1"),
        ("n = []", "n = []"),
        ("points = 1", "points = 1"),
        ("seeds = 0", "seeds = 0"),
        ("z_max = 0", "z_max = 0"),
        ("z_max = nan", "z_max = NaN"),
        ("draws = 0", "draws = 0"),
    ] {
        let text = refusal::<Divergences>(overrides);
        assert!(text.contains(named), "{overrides}: {text}");
    }
}

#[test]
fn mixture_at_smoke_size_has_its_tables_and_an_unbiased_monitor() {
    let small = "dim = 5\nwalkers = 500\nmonitor = 500\ndata = 300\nsteps = 60\nevery = 20\nseeds = 2";
    let out = run::<MixtureModes>(small);
    let steps = out.get("steps").unwrap();
    for name in [
        "method",
        "seed",
        "step",
        "mass",
        "cross_entropy",
        "cross_entropy_monitor",
        "cross_entropy_exact",
        "log_z",
        "log_z_exact",
        "ess",
        "resampled",
    ] {
        assert!(steps.column(name).is_ok(), "steps lacks {name}");
    }
    let own = filter(steps, "method", "jarzynski").unwrap();
    let of = |name: &str| column_f64(&own, name).unwrap();
    let (z, se, exact) = (of("log_z_monitor"), of("log_z_monitor_se"), of("log_z_exact"));
    let late = |i: &usize| of("step")[*i] > 0.0;
    for i in (0..z.len()).filter(late) {
        assert!(((z[i] - exact[i]) / se[i]).abs() < 5.0, "row {i}: {} ± {}, exact {}", z[i], se[i], exact[i]);
    }
    assert_eq!(columns(out.get("summary").unwrap()), ["case", "method", "quantity", "value", "se", "exact"]);
    assert_eq!(distinct(steps, "method").unwrap(), ["jarzynski", "pcd", "cd"]);
    assert!(out.notes.iter().all(|n| !n.contains("NaN")), "{:?}", out.notes);
}

#[test]
fn the_cross_entropy_of_held_out_points_is_of_points_that_were_not_trained_on() {
    let config = MixtureModes { dim: 3, walkers: 200, monitor: 100, data: 150, steps: 40, ..Default::default() };
    let (model, run) = config.train(Method::Pcd, 3).unwrap();
    let last = |name: &str| *run.column(name).unwrap().last().unwrap();
    // log ρ(x) of the student by its parameters, and of points that the test draws itself
    let (mean, mass) = (model.means(), model.masses());
    let exact = |split: u64| {
        let x = config.teacher().unwrap().sample(150, &mut Rng::new(3).split(split));
        let log = |j: i64| {
            let square = (&x - mean.select(0, j)).square().sum_dim_intlist(-1, false, Kind::Double);
            square * -0.5 - 1.5 * (2.0 * std::f64::consts::PI).ln() + mass.double_value(&[j]).ln()
        };
        -log(0).logaddexp(&log(1)).mean(Kind::Double).double_value(&[])
    };
    assert!((last("cross_entropy_test") - exact(98)).abs() < 1e-10);
    assert!((last("cross_entropy_exact") - exact(99)).abs() < 1e-10);
    assert!((exact(98) - exact(99)).abs() > 1e-3, "the two must differ for the test to tell");
}

#[test]
fn digits_at_smoke_size_have_their_tables_and_pictures() {
    let small = "net = [16]\nwalkers = 64\nsteps = 12\nmoves = 1\nanneal_steps = 10\nanneal_walkers = 64\nclassifier_steps = 20\nseeds = 1";
    let out = run::<Digits>(small);
    let masses = out.get("masses").unwrap();
    assert_eq!(columns(masses), ["method", "seed", "label", "data", "model", "se"]);
    for method in ["jarzynski", "jarzynski-monitor", "jarzynski-walkers", "pcd", "pcd-walkers", "cd", "cd-walkers"] {
        let part = filter(masses, "method", method).unwrap();
        assert_eq!(part.height(), 3, "{method}");
        for column in ["data", "model"] {
            let total: f64 = column_f64(&part, column).unwrap().iter().sum();
            assert!((total - 1.0).abs() < 1e-9, "{method}: {column} sums to {total}");
        }
    }
    #[cfg(feature = "plot")]
    for (name, figure) in &out.figures {
        assert!(figure.svg().is_ok(), "{name}");
    }
    let summary = out.get("summary").unwrap();
    let entropy = |quantity: &str| column_f64(&filter(summary, "quantity", quantity).unwrap(), "value").unwrap();
    let (training, held_out) = (entropy("cross_entropy_train"), entropy("cross_entropy_test"));
    assert!(training.len() == 4 && held_out.len() == 4 && training.iter().zip(&held_out).all(|(a, b)| a != b));
    let methods = filter(summary, "quantity", "cross_entropy_test").unwrap();
    assert_eq!(column_str(&methods, "method").unwrap(), ["gaussian", "jarzynski", "pcd", "cd"]);
    // the fit by itself: U at 245 images with noise ε has the mean U(x) + σ²/2 tr C⁻¹ and the variance σ²|C⁻¹(x − m)|² + σ⁴/2 tr C⁻²
    let digits = jarzynski::data::digits().unwrap().scale(-1.0, 1.0).unwrap();
    let images = digits.select(&[2, 3, 6], &[140, 70, 35]).unwrap().x.to_kind(Kind::Double);
    let fit = jarzynski::model::Gaussian::fit(&images, 0.3).unwrap();
    let l = fit.whitening().factor();
    let precision = l.matmul(&l.tr()).inverse();
    let sum = |t: jarzynski::tch::Tensor| t.sum(Kind::Double).double_value(&[]);
    let still = -sum(fit.log_prob(&images).unwrap()) / 245.0;
    let exact = still + 0.5 * 0.09 * precision.trace().double_value(&[]);
    let variance =
        0.09 * sum(fit.evaluate(&images).grad().square()) / 245.0 + 0.5 * 0.09f64.powi(2) * sum(precision.square());
    let z = (training[0] - exact) / (variance / 245.0).sqrt();
    assert!(z.abs() < FAR, "{} {exact}: z = {z}", training[0]);
    assert!((training[0] - still) / (variance / 245.0).sqrt() > FAR, "the twin: without noise");
    assert!(held_out[0] > training[0], "images that were fitted are likelier");
    assert!(out.notes.iter().any(|n| n.contains("test images: all 296")), "{:?}", out.notes);
    // one seed has no error over seeds
    assert!(out.notes.iter().all(|n| !n.contains("NaN")), "{:?}", out.notes);
    assert!(refusal::<Digits>("lables = [1]").contains("lables"));
    assert!(refusal::<Digits>("counts = [177, 88, 44]").contains("class 2"));
}

// ---- flows

#[test]
fn reweighted_flows_are_exact_and_coarse_plain_ones_are_not() {
    let out = run::<FlowExact>("steps = [8, 16]\neps = [0.5]\nwalkers = 20_000\nseeds = 1");
    let moments = out.get("moments").unwrap();
    let wanted = ["case", "method", "quantity", "value", "se", "exact", "ess", "tail", "stiffness"];
    assert_eq!(columns(moments), wanted);
    assert_eq!(moments.height(), 2 * 2 * 7);
    let of = |method: &str| filter(moments, "method", method).unwrap();
    assert!(near(&z(&of("reweighted"), "exact")), "{moments}");
    assert!(column_f64(&of("reweighted"), "ess").unwrap().iter().all(|e| *e > 0.3));
    // Twins: at K = 8 the plain averages of the mixture are off, in every quantity with a name.
    let plain = filter(&of("plain"), "case", "mixture K=8 ε=0.5").unwrap();
    let square = filter(&plain, "quantity", "x0²").unwrap();
    assert!(z(&square, "exact")[0] < -FAR, "{plain}");
    for (overrides, named) in [
        ("steps = []", "steps = []"),
        ("eps = [0.0]", "eps = 0"),
        ("steps = 0", "steps = 0"),
        ("seeds = 0", "seeds = 0"),
    ] {
        let text = refusal::<FlowExact>(overrides);
        assert!(text.contains(named), "{overrides}: {text}");
    }
}

#[test]
fn measured_orders_are_the_declared_ones() {
    let out = run::<FlowOrder>("dims = [1]\nlog_steps = [5, 6, 7, 8]\nwalkers = 400\nseeds = 3");
    let order = out.get("order").unwrap();
    assert_eq!(columns(order), ["scheme", "d", "quantity", "exponent", "exponent_se", "expected"]);
    let read = |name| column_f64(order, name).unwrap();
    let (exponent, expected, scheme) = (read("exponent"), read("expected"), column_str(order, "scheme").unwrap());
    let quantity = column_str(order, "quantity").unwrap();
    for i in 0..exponent.len() {
        // Finite h leaves a systematic error below a tenth of the exponent; neighbouring orders are half apart at least.
        let room = 0.1 * expected[i].max(1.0);
        assert!(
            (exponent[i] - expected[i]).abs() < room,
            "{} {}: {} not {}",
            scheme[i],
            quantity[i],
            exponent[i],
            expected[i]
        );
    }
    // Lemma 2 as printed: 1.5 for an increment of Prop. 2. It is 1.
    let prop2 = filter(&filter(order, "scheme", "escorted").unwrap(), "quantity", "rms_increment").unwrap();
    let (e, se) = (column_f64(&prop2, "exponent").unwrap()[0], column_f64(&prop2, "exponent_se").unwrap()[0]);
    assert!((1.5 - e) / se > FAR, "{e} ± {se}");
    let scaling = out.get("scaling").unwrap();
    assert_eq!(scaling.height(), 10 * 4 * 3);
    // Var A_T/h of Prop. 2 at d = 1: 2.10 by an independent implementation at h = 1/32.
    let own = filter(&filter(scaling, "scheme", "escorted").unwrap(), "steps", "32").unwrap();
    let v: Vec<f64> = column_f64(&own, "var_a").unwrap().iter().map(|v| v * 32.0).collect();
    let (mean, se) = jarzynski::io::frame::mean_se(&v);
    assert!(((mean - 2.10) / se).abs() < FAR, "{mean} ± {se}");
    assert!(refusal::<FlowOrder>("schemes = [\"euler\"]").contains("scheme = euler"));
    assert!(refusal::<FlowOrder>("fit = 0.0001").contains("fit = 0.0001"));
}

#[test]
fn tuning_and_continuous_time_have_their_tables() {
    let out = run::<FlowTune>(
        "eps = [0.2, 1.0]\nsteps = [16]\ness = 0.7\nschemes = [\"escorted\", \"euler-mala\"]\nwalkers = 1000\nseeds = 2",
    );
    let choice = out.get("choice").unwrap();
    let wanted = ["path", "among", "scheme", "steps", "eps", "ess", "cost", "grid_scheme", "grid_cost", "ratio"];
    assert_eq!(columns(choice), wanted);
    assert_eq!(distinct(choice, "among").unwrap(), ["no Jacobian", "all"]);
    assert!(column_f64(choice, "ess").unwrap().iter().all(|e| *e >= 0.7), "{choice}");
    // A grid of two noises judged by two seeds may be cheaper than what eight fresh seeds and k̂ confirm, but not by much more.
    assert!(column_f64(choice, "ratio").unwrap().iter().all(|r| *r < 3.0), "{choice}");
    assert_eq!(out.get("noise").unwrap().height(), 2 * 2 * 2);

    let out = run::<Continuous>("alpha = [1.0]\nlog_steps = [4, 5, 6]\nlog_reference = 8\nwalkers = 500\nseeds = 3");
    let table = out.get("convergence").unwrap();
    assert_eq!(columns(table), ["alpha", "h", "method", "quantity", "value", "se", "exact"]);
    let gap = filter(&filter(table, "method", "jarzynski").unwrap(), "quantity", "rms_gap").unwrap();
    let v = column_f64(&gap, "value").unwrap();
    assert!(v[0] > 1.6 * v[1] && v[1] > 1.6 * v[2], "halving h nearly halves the gap: {v:?}");
    let log_z = filter(&filter(table, "method", "jarzynski").unwrap(), "quantity", "log_z").unwrap();
    assert!(near(&z(&log_z, "exact")), "{log_z}");
}

#[test]
fn learned_flows_at_smoke_size_have_their_tables_and_pictures() {
    let part = |name: &str, widths: &str, walkers: u32| {
        format!(
            "[{name}]\nwidths = {widths}\nupdates = 30\nbatch = 64\nsteps = [6]\nschemes = [\"escorted\"]\neps = [0.3]\nwalkers = {walkers}\n"
        )
    };
    let small = format!(
        "sets = [\"moons\"]\npoints = 500\nseeds = 1\n{}{}",
        part("planar", "[16]", 400),
        part("digits", "[16]", 64)
    );
    let out = run::<FlowLearned>(&small);
    let masses = out.get("masses").unwrap();
    let wanted = ["dataset", "seed", "scheme", "steps", "method", "part", "value", "se", "learned", "data", "ess"];
    assert_eq!(columns(masses), wanted);
    for set in ["moons", "digits"] {
        for method in ["plain", "reweighted"] {
            let part = filter(&filter(masses, "dataset", set).unwrap(), "method", method).unwrap();
            let total: f64 = column_f64(&part, "value").unwrap().iter().sum();
            assert!((total - 1.0).abs() < 1e-9, "{set}, {method}: {total}");
        }
    }
    assert_eq!(distinct(out.get("distributions").unwrap(), "dataset").unwrap(), ["moons", "digits"]);
    assert!(out.get("training").unwrap().height() > 0);
    #[cfg(feature = "plot")]
    for (name, figure) in &out.figures {
        assert!(figure.svg().is_ok(), "{name}");
    }
    assert!(refusal::<FlowLearned>("sets = [\"spirals\"]").contains("spirals"));
    assert!(refusal::<FlowLearned>("[planar]\neps = [1.0]").contains("one noise for each"));
}

#[test]
fn three_backward_densities_are_exact_and_48_as_printed_is_not() {
    let out = run::<RbmKernels>("steps = [20, 100]\nwalkers = 4000\nseeds = 2\nvisible = 6\nhidden = 4");
    let table = out.get("variance").unwrap();
    assert_eq!(columns(table), ["model", "backward", "steps", "log_z", "se", "exact", "var_a", "ess"]);
    let part = |name: &str| filter(table, "backward", name).unwrap();
    let z = |name: &str| {
        let read = |c: &str| column_f64(&part(name), c).unwrap();
        let (value, se, exact) = (read("log_z"), read("se"), read("exact"));
        value.iter().zip(&se).zip(&exact).map(|((v, s), e)| (v - e) / s).collect::<Vec<f64>>()
    };
    for name in ["reversed scan", "exact", "collapsed"] {
        assert_eq!(z(name).len(), 4, "{name}");
        assert!(near(&z(name)), "{name}: {:?}", z(name));
    }
    let printed = z("collapsed (48)");
    assert_eq!(printed.len(), 2);
    assert!(printed.iter().all(|z| z.abs() > 5.0), "{printed:?}");
    let variance = |name: &str| column_f64(&part(name), "var_a").unwrap();
    let same = variance("same scan");
    assert!(same[1] > same[0], "the same scan costs weight at every step: {same:?}");
    for (a, b) in variance("collapsed").iter().zip(variance("exact")) {
        assert!(*a < b, "summing out h cannot add variance: {a} {b}");
    }
    assert!(refusal::<RbmKernels>("hidden = 0").contains("hidden"));
    assert!(refusal::<RbmKernels>("hidden = 30\nvisible = 30").contains("25"));
}

#[test]
fn enumerable_rbms_have_an_exact_monitor_and_an_unbiased_gradient() {
    let out =
        run::<RbmExact>("sets = \"bars\"\nsteps = 1200\nwalkers = 200\nseeds = 4\nevery = 100\nlr = 0.2\nchecks = 4");
    let summary = out.get("summary").unwrap();
    assert_eq!(columns(summary), ["case", "method", "quantity", "value", "se", "exact"]);
    let of = |quantity: &str| filter(summary, "quantity", quantity).unwrap();
    // walkers that drive θ are biased low, by more than the monitor is off in any seed
    let off = |quantity: &str| -> Vec<f64> {
        let rows = of(quantity);
        let (value, exact) = (column_f64(&rows, "value").unwrap(), column_f64(&rows, "exact").unwrap());
        value.iter().zip(exact).map(|(v, e)| v - e).collect()
    };
    let (monitor, walkers) = (off("log_z_monitor"), off("log_z_walkers"));
    let (mean, se) = jarzynski::io::frame::mean_se(&monitor);
    assert!((mean / se).abs() < 5.0, "{monitor:?}");
    let worst = monitor.iter().fold(0.0, |w: f64, m| w.max(m.abs()));
    assert!(walkers.iter().all(|w| *w < -worst), "{walkers:?}, the monitor {monitor:?}");
    let gradient = out.get("gradient").unwrap();
    let last = |method: &str, column: &str| {
        *column_f64(&filter(gradient, "method", method).unwrap(), column).unwrap().last().unwrap()
    };
    // under no bias the ratio is that of two estimates of one noise
    let ratio = |method: &str| last(method, "bias") / last(method, "bias_noise");
    assert!(ratio("jarzynski") < ratio("pcd-1") && ratio("jarzynski") < ratio("cd-1"));
    assert_eq!(distinct(out.get("likelihood").unwrap(), "method").unwrap(), ["jarzynski", "pcd-1", "cd-1"]);
    assert!(refusal::<RbmExact>("sets = \"faces\"").contains("faces"));
    assert!(refusal::<RbmExact>("replicates = 1").contains("at least 2"));
}

#[test]
fn gaussian_rbms_at_smoke_size_have_exact_likelihoods_and_their_tables() {
    let out = run::<GaussianRbm>(
        "hidden = [4, 4]\nsteps = 200\nwalkers = 200\nseeds = 2\nevery = 100\npoints = 1000\nanneal = [200, 500]",
    );
    let summary = out.get("summary").unwrap();
    assert_eq!(columns(summary), ["case", "method", "quantity", "value", "se", "exact"]);
    let monitors = filter(summary, "quantity", "log_z_monitor").unwrap();
    assert!(near(&z(&filter(&monitors, "method", "jarzynski").unwrap(), "exact")));
    // the longer steps of natural gradients leave one of four with too few lineages for an error bar
    let natural = z(&filter(&monitors, "method", "jarzynski-natural").unwrap(), "exact");
    let known: Vec<f64> = natural.iter().copied().filter(|z| !z.is_nan()).collect();
    assert!(natural.len() == 4 && known.len() == 3 && near(&known), "{natural:?}");
    let mixture = filter(&filter(summary, "quantity", "log_lik").unwrap(), "case", "mixture").unwrap();
    let (value, known) = (column_f64(&mixture, "value").unwrap(), column_f64(&mixture, "exact").unwrap());
    assert!(value.iter().zip(&known).all(|(v, k)| v < k), "no model is likelier than the true distribution: {mixture}");
    let masses = out.get("masses").unwrap();
    for method in ["jarzynski", "jarzynski-natural", "pcd-1", "cd-1"] {
        let total: f64 = column_f64(&filter(masses, "method", method).unwrap(), "value").unwrap().iter().sum();
        assert!((total - 2.0).abs() < 1e-9, "one per seed: {total}");
    }
    #[cfg(feature = "plot")]
    for (name, figure) in &out.figures {
        assert!(figure.svg().is_ok(), "{name}");
    }
    assert!(refusal::<GaussianRbm>("hidden = [4]").contains("hidden"));
    assert!(refusal::<GaussianRbm>("rates = [[0.1], [0.1]]").contains("rates"));
}

#[test]
fn the_race_of_rbms_at_smoke_size_agrees_with_annealing() {
    // 12 hidden units can be enumerated: reverse runs start from exact draws
    let small = "data = \"digits\"\nhidden = 12\nsteps = 60\nbatch = 200\nwalkers = 500\nseeds = 2\nais_steps = 300\n\
                 every = 10\ncheckpoints = 3\nclassifier_steps = 50\nbrackets = true";
    let out = run::<RbmMnist>(small);
    let table = out.get("likelihood").unwrap();
    let wanted = [
        "binarisation",
        "method",
        "hidden",
        "seed",
        "update",
        "sweeps",
        "seconds",
        "log_lik_train",
        "log_lik_test",
        "log_lik_lower",
        "log_lik_upper",
        "log_z_monitor",
        "log_z_monitor_se",
        "log_z_walkers",
        "log_z_bar",
        "log_z_bar_se",
        "log_z_ais",
        "log_z_reverse",
        "log_z_exact",
        "round_trips",
        "ess",
        "warning",
    ];
    assert_eq!(columns(table), wanted);
    for method in ["jarzynski", "pcd-natural", "pcd-1"] {
        let rows = filter(table, "method", method).unwrap();
        let read = |name: &str| column_f64(&rows, name).unwrap();
        let (bar, se, exact) = (read("log_z_bar"), read("log_z_bar_se"), read("log_z_exact"));
        let z: Vec<f64> = (0..bar.len()).map(|i| (bar[i] - exact[i]) / se[i].max(1e-6)).collect();
        assert!(near(&z), "{method}: {z:?}");
        // twin: the log Z of the start is not that of the end
        let last = exact.len() - 1;
        assert!(((bar[last] - exact[0]) / se[last]).abs() > 5.0, "{method}: {exact:?}");
    }
    let sweeps =
        |method: &str| *column_f64(&filter(table, "method", method).unwrap(), "sweeps").unwrap().last().unwrap();
    // 60 updates, and 1.2, 2.5, .8 and 2.5 times as many in tens
    assert_eq!((sweeps("jarzynski"), sweeps("pcd-natural"), sweeps("pcd-1")), (60.0, 70.0, 150.0));
    assert_eq!((sweeps("pcd-10"), sweeps("cd-1")), (500.0, 150.0));
    #[cfg(feature = "plot")]
    for (name, figure) in &out.figures {
        assert!(figure.svg().is_ok(), "{name}");
    }
    let tiny = "data = \"digits\"\nhidden = 30\nsteps = 4\nbatch = 50\nwalkers = 50\nseeds = 1\nais_steps = 10\nevery = 2\n\
                checkpoints = 2\nclassifier_steps = 4\nmethods = [\"jarzynski\", \"pcd-1\", \"cd-1\"]\nrates = [0.1, 0.1, 0.1]\n\
                multiples = [1.0, 1.0, 1.0]\nrounds = 8\nchains = 5";
    let of = |letter: &str| {
        let out = run::<RbmMnist>(&format!("{tiny}\nbinarisation = \"{letter}\""));
        for (name, table) in &out.tables {
            assert_eq!(distinct(table, "binarisation").unwrap(), [letter], "{name}");
        }
        assert!(out.notes.iter().any(|n| n.starts_with(&format!("binarisation {letter}"))), "{:?}", out.notes);
        column_f64(out.get("likelihood").unwrap(), "log_lik_test").unwrap()
    };
    let (t, s, f) = (of("T"), of("S"), of("F"));
    assert!(t != s && s != f && t != f && [&t, &s, &f].iter().all(|v| v.iter().all(|v| v.is_finite())));
    assert!(refusal::<RbmMnist>("binarisation = \"X\"").contains("binarisation = X"));
    assert!(refusal::<RbmMnist>("methods = [\"hmc\"]\nrates = [0.1]").contains("hmc"));
    assert!(refusal::<RbmMnist>("rates = [0.1]").contains("one rate"));
    assert!(refusal::<RbmMnist>("data = \"faces\"").contains("faces"));
}

#[test]
fn brackets_hold_the_exact_log_z_unless_they_start_from_data() {
    let out = run::<Brackets>("steps = [60]\nwalkers = 1_000\nrounds = 120");
    let table = out.get("bracket").unwrap();
    let of = |machine: &str, start: &str| filter(&filter(table, "machine", machine).unwrap(), "start", start).unwrap();
    let score = |df: &DataFrame, name: &str| {
        let read = |c: &str| column_f64(df, c).unwrap()[0];
        (read(name) - read("exact")) / read(&format!("{name}_se"))
    };
    for (machine, start) in [("digits", "exact"), ("digits", "tempering, straight"), ("late", "exact")] {
        assert!(score(&of(machine, start), "bar").abs() < FAR, "{machine}, {start}: {table}");
    }
    assert!(score(&of("late", "tempering, trajectory"), "bar").abs() < FAR, "{table}");
    assert!(score(&of("digits", "data"), "bar") < -FAR, "data are no draws of the model: {table}");
    assert!(score(&of("late", "exact"), "lower") < -FAR, "no forward walker enters the rest: {table}");
    assert_eq!(column_str(&of("digits", "data"), "warning").unwrap(), ["equilibration"]);
    let ladders = out.get("ladders").unwrap();
    let rest = |method: &str| {
        let own = filter(&filter(ladders, "machine", "late").unwrap(), "method", method).unwrap();
        let read = |c: &str| column_f64(&own, c).unwrap()[0];
        (read("log_z") - read("exact")) / read("se")
    };
    assert!(
        rest("tempering, trajectory").abs() < FAR && rest("tempering, β") < -FAR && rest("AIS") < -FAR,
        "{ladders}"
    );
    // both histograms of the first bracket, each with all of its walkers
    let crooks = out.get("crooks").unwrap();
    for name in ["forward", "reverse"] {
        assert!((column_f64(crooks, name).unwrap().iter().sum::<f64>() - 1.0).abs() < 1e-12, "{crooks}");
    }
    assert!(refusal::<Brackets>("walkers = 0").contains("walkers = 0"));
}

#[test]
fn every_kernel_of_the_bench_meets_log_z_where_the_start_covers_the_target() {
    let out = run::<SamplerBench>("targets = [\"banana\", \"many-well-54\"]\nbudgets = [200, 400]\nseeds = 3");
    let errors = out.get("errors").unwrap();
    let wanted = [
        "target",
        "package",
        "method",
        "evaluations",
        "seed",
        "log_z",
        "se",
        "exact",
        "ess",
        "pareto_k",
        "log_z_upper",
        "log_z_upper_se",
        "coverage_modes",
        "seconds",
    ];
    assert_eq!((columns(errors), errors.height()), (wanted.to_vec(), 2 * 8 * 2 * 3));
    for method in distinct(errors, "method").unwrap() {
        let own = filter(errors, "method", &method).unwrap();
        let read = |c: &str| column_f64(&own, c).unwrap();
        let (z, se, exact, spent) = (read("log_z"), read("se"), read("exact"), read("evaluations"));
        let far: Vec<f64> = (0..z.len()).filter(|i| se[*i].is_finite()).map(|i| (z[i] - exact[i]) / se[i]).collect();
        assert!(far.len() >= 5 && near(&far), "{method}: {far:?}");
        // the pilot's evaluations are taken off the run's
        // a step of "scales" is 4 × 13 evaluations for each of 500 walkers
        let step = if method == "scales" { 26e3 } else { 0.0 };
        let budget = |i: usize| if i % 6 < 3 { 1e5 } else { 2e5 };
        assert!(spent.iter().enumerate().all(|(i, n)| *n <= budget(i) * 1.02 + step), "{method}: {spent:?}");
        assert!(spent.iter().all(|n| *n > 0.9e5 - step), "{method}: {spent:?}");
        let modes = column_f64(&filter(&own, "target", "many-well-54").unwrap(), "coverage_modes").unwrap();
        // a random walk, and "scales" with its one or two steps, lose modes at the smaller budget, the first three
        let from = if ["random walk", "scales"].contains(&method.as_str()) { 3 } else { 0 };
        assert!(modes[from..].iter().all(|m| *m == 1.0), "{method}: {modes:?}");
    }
    let calibration = out.get("calibration").unwrap();
    assert_eq!(column_f64(calibration, "runs").unwrap(), [6.0; 16]);
    let bad = refusal::<SamplerBench>("methods = [\"nuts\"]");
    assert!(bad.contains("nuts") && bad.contains("underdamped"), "{bad}");
    let bad = refusal::<SamplerBench>("targets = [\"lj-13\"]");
    assert!(bad.contains("lj-13") && bad.contains("many-well-32"), "{bad}");
    let bad = refusal::<SamplerBench>("budgets = []");
    assert!(bad.contains("budgets = 0"), "{bad}");
}

#[test]
fn generative_models_are_measured_on_the_same_rows() {
    let small = "data = [\"modes-8\", \"modes-20d\", \"digits\"]".parse().unwrap();
    let out = configure::<GenerativeComparison>(&small, Size::Small).unwrap().run().unwrap();
    let table = out.get("comparison").unwrap();
    assert_eq!(
        columns(table),
        [
            "data",
            "method",
            "seed",
            "log_lik_test",
            "log_lik_se",
            "kind",
            "mass_distance",
            "mmd",
            "mmd_se",
            "seconds",
            "parameters"
        ]
    );
    assert_eq!(table.height(), 3 * 13, "the data's own row and one for each method: {:?}", out.notes);
    for data in ["modes-8", "modes-20d", "digits"] {
        let of = |method| filter(&filter(table, "data", data).unwrap(), "method", method).unwrap();
        let number = |method, column| column_f64(&of(method), column).unwrap()[0];
        let kind = |method| column_str(&of(method), "kind").unwrap()[0].clone();
        assert_eq!((kind("flow").as_str(), kind("vae").as_str(), kind("gan").as_str()), ("exact", "bound", "none"));
        assert_eq!(kind("jarzynski"), if data == "modes-8" { "exact" } else { "AIS" });
        assert!(number("gan", "log_lik_test").is_nan() && number("flow", "log_lik_test").is_finite());
        if data != "digits" {
            let best = number("data", "log_lik_test");
            for method in ["jarzynski", "flow", "vae", "ladder", "nce"] {
                let (l, se) = (number(method, "log_lik_test"), number(method, "log_lik_se"));
                assert!(l - best < FAR * se, "{data}: {method} {l} ± {se} above the data's own {best}");
            }
        }
        for distance in column_f64(&filter(table, "data", data).unwrap(), "mass_distance").unwrap() {
            assert!((0.0..=1.0).contains(&distance));
        }
    }
    let masses = out.get("masses").unwrap();
    let shares = column_f64(masses, "share").unwrap();
    assert!((shares.iter().sum::<f64>() - 39.0).abs() < 1e-6, "the shares of each sum to 1");
    let e = refusal::<GenerativeComparison>("methods = [\"boltzmann\"]");
    assert!(e.contains("boltzmann") && e.contains("stochastic-flow"), "{e}");
    assert!(refusal::<GenerativeComparison>("effort = 0.0").starts_with("effort = 0"));
    assert!(refusal::<GenerativeComparison>("data = [\"moon\"]").contains("modes-20d"));
}

#[test]
fn the_first_training_finds_log_z_and_the_masses() {
    let out = run::<Quick>("data = 4000\nwalkers = 4000");
    let summary = out.get("summary").unwrap();
    let log_z = filter(&filter(summary, "quantity", "log Z").unwrap(), "method", "jarzynski").unwrap();
    let se = column_f64(&log_z, "se").unwrap()[0];
    assert!(near(&z(&log_z, "exact")) && se > 0.0 && se < 0.1, "{log_z}");
    let mass = |method: &str| {
        let rows = filter(&filter(summary, "quantity", "mass of the left mode").unwrap(), "method", method).unwrap();
        column_f64(&rows, "value").unwrap()[0]
    };
    // the data's own frequency has a standard error of √(.3 · .7/4000)
    let far = (0.3 * 0.7 / 4_000.0f64).sqrt() * FAR;
    assert!((mass("jarzynski") - 0.3).abs() < far + 0.02, "{}", mass("jarzynski"));
    assert!((mass("pcd") - 0.3).abs() > far + 0.02, "unweighted chains do not move between the modes: {}", mass("pcd"));
}
