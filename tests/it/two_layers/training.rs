//! Check starts, training, files and refusals of every kind of visible units.

use super::*;

// ---- training

fn started(kind: &str, data: &Tensor, shape: &RbmShape) -> jarzynski::Result<Rbm> {
    match kind {
        "bernoulli" => Rbm::bernoulli(data, shape),
        "gaussian" => Rbm::gaussian(data, shape),
        "ising" => Rbm::ising(data, shape),
        _ => Rbm::potts(data, Q, shape),
    }
}

/// Rows whose units share one hidden state, each unit with errors of its own.
fn correlated(kind: &str, n: i64) -> Tensor {
    let mut rng = Rng::new(7);
    let mut uniform = |d: i64| rng.uniform_tensor(&[n, d], Kind::Double, Device::Cpu);
    let (shared, wrong) = (uniform(1), uniform(4).lt(0.1).to_kind(Kind::Double));
    let bit = shared.lt(0.5).to_kind(Kind::Double);
    let bits = (&bit - &wrong).abs();
    match kind {
        "bernoulli" => bits,
        "ising" => bits * 2.0 - 1.0,
        "gaussian" => rng.normal(&[n, 2], Kind::Double, Device::Cpu) * 0.5 + (bit * 3.0 - 1.5),
        _ => one_hot(&((shared * Q as f64).floor() + wrong.narrow(1, 0, 2)).remainder(Q as f64), Q).unwrap(),
    }
}

#[test]
fn every_kind_trains_by_every_method() {
    for kind in KINDS {
        let data = correlated(kind, 300);
        for (method, centred) in [
            (Method::Jarzynski { ess_min: 0.5 }, false),
            (Method::Pcd, kind != "gaussian"),
            (Method::Cd { k: 1 }, false),
            (Method::Ptt { rate: 0.5 }, false),
        ] {
            let shape = RbmShape { hidden: 3, scale: 0.2, centred, ..Default::default() };
            let mut rbm = started(kind, &data, &shape).unwrap();
            let independent = started(kind, &data, &RbmShape { scale: 0.0, ..shape }).unwrap();
            let before = independent.exact_log_likelihood(&data).unwrap();
            // at .2 the exact gradient overshoots for Gaussian units
            let lr = if kind == "gaussian" { 0.1 } else { 0.2 };
            let trainer = Trainer::new(Gibbs::new(), method).walkers(300).steps(300).lr(lr).seed(3).quiet();
            let run = trainer.train(&mut rbm, &data).unwrap();
            assert!(run.finished(), "{kind}, {method:?}: {:?}", run.outcome);
            let after = rbm.exact_log_likelihood(&data).unwrap();
            assert!(after > before + 0.1, "{kind}, {method:?}: {after} after {before}");
            if let Some(z) = run.log_z() {
                let off = (z.value - rbm.exact_log_z().unwrap()) / z.se;
                assert!(off.abs() < 5.0, "{kind}: {z}, {off} bars off");
            }
        }
    }
}

#[test]
fn the_start_has_the_means_of_the_data() {
    for kind in DISCRETE {
        let data = sample(&machine(kind, 1.0, false), 5_000, 2);
        let rbm = started(kind, &data, &RbmShape { hidden: 2, scale: 0.0, ..Default::default() }).unwrap();
        // up to the one observation that is spread over the states
        assert!(max(&(rbm.exact().unwrap().v - data.mean_dim(0, false, Kind::Double))) < 1e-3, "{kind}");
    }
}

#[test]
fn columns_of_any_scale_have_their_own_variance() {
    let mut rng = Rng::new(1);
    let mut draw = || rng.normal(&[2_000, 1], Kind::Double, Device::Cpu);
    let data = Tensor::cat(&[draw() * 1e5 + 2e5, draw() * 0.1 + 0.5], 1);
    let variance = data.var_dim(0, false, false);
    let independent = (&variance * (2.0 * std::f64::consts::PI * std::f64::consts::E)).log() * -0.5;
    let exact = independent.sum(Kind::Double).double_value(&[]);
    assert!((exact + 12.05).abs() < 0.05, "{exact}");
    let shape = RbmShape { hidden: 1, scale: 0.0, ..Default::default() };
    for (kind, tolerance) in [(Kind::Double, 1e-8), (Kind::Float, 1e-3)] {
        let data = data.to_kind(kind);
        let rbm = Rbm::gaussian(&data, &shape).unwrap();
        let got = rbm.exact_log_likelihood(&data).unwrap();
        assert!((got - exact).abs() < tolerance, "{got}, independent normals {exact}");
        // columns that do not vary change nothing in the others, and are narrow beside them
        let still =
            Tensor::cat(&[&data, &(data.narrow(1, 0, 1).zeros_like()), &(data.narrow(1, 0, 1).full_like(3e7))], 1);
        let sigma = |rbm: &Rbm| (rbm.units().visible.parameter().unwrap().1 * 0.5).exp().to_kind(Kind::Double);
        let s = sigma(&Rbm::gaussian(&still, &shape).unwrap());
        assert!(max(&(s.narrow(0, 0, 2) / sigma(&rbm) - 1.0)) < 1e-6);
        assert!(
            (s.double_value(&[2]) / 1e-3 - 1.0).abs() < 0.1 && (s.double_value(&[3]) / 3e5 - 1.0).abs() < 1e-3,
            "{s}"
        );
    }
}

#[test]
fn exact_log_z_is_enumerated_as_often_as_it_pays() {
    let rbm = |dv: i64, dh| {
        let data = Rng::new(1).uniform_tensor(&[50, dv], Kind::Float, Device::Cpu).round();
        (Rbm::bernoulli(&data, &RbmShape { hidden: dh, ..Default::default() }).unwrap(), data)
    };
    for (dv, dh, states) in [(20, 10, 1 << 10), (9, 14, 1 << 9)] {
        assert_eq!(rbm(dv, dh).0.log_z_exact_cost(), states);
    }
    assert_eq!(machine("potts", 1.0, false).log_z_exact_cost(), 8);
    assert_eq!(Rbm::from_units(&units("gaussian", 1.0), false).unwrap().log_z_exact_cost(), 8);
    // 2^12 states against 40 walkers per update
    let (mut rbm, data) = rbm(12, 12);
    let trainer = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 }).walkers(20).steps(60).quiet();
    let exact = trainer.train(&mut rbm, &data).unwrap().column("log_z_exact").unwrap();
    let known = exact.iter().filter(|z| z.is_finite()).count();
    assert!((2..=20).contains(&known), "{known} of {} rows", exact.len());
    assert!(exact[0].is_finite() && exact[60].is_finite());
}

// ---- files and refusals

#[test]
fn files_hold_the_kind_of_the_visible_units() {
    let dir = std::env::temp_dir().join(format!("two-layers-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for kind in KINDS {
        let (rbm, path) = (machine(kind, 1.0, false), dir.join(format!("{kind}.safetensors")));
        rbm.save(&path).unwrap();
        let x = sample(&rbm, 20, 1);
        let mut other = Rbm::from_units(&units(kind, 0.1), false).unwrap();
        assert!(max(&(other.evaluate(&x).u - rbm.evaluate(&x).u)) > 1e-2);
        other.load(&path).unwrap();
        assert!(max(&(other.evaluate(&x).u - rbm.evaluate(&x).u)) == 0.0, "{kind}");
        let file = dir.join(format!("{kind}.units"));
        rbm.units().write(&file).unwrap();
        let read = Units::read(&file).unwrap();
        assert_eq!((read.visible.name(), read.visible.levels()), (kind, rbm.units().visible.levels()));
        assert!(max(&(read.evaluate(&x).u - rbm.evaluate(&x).u)) == 0.0, "{kind}");
    }
    // the same shapes under another kind, or another q, are not taken
    let mut spins = machine("ising", 1.0, false);
    let text = spins.load(&dir.join("bernoulli.safetensors")).unwrap_err().to_string();
    assert!(text.contains("ising"), "{text}");
    let p = units("potts", 1.0);
    let mut pairs = Rbm::from_units(&Units::potts(&p.w, &p.b, &p.c, 2).unwrap(), false).unwrap();
    let text = pairs.load(&dir.join("potts.safetensors")).unwrap_err().to_string();
    assert!(text.contains("potts"), "{text}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn rows_outside_the_support_or_of_another_shape_are_refused_by_name_and_kinds_are_converted() {
    for kind in KINDS {
        let wide = machine(kind, 0.5, false);
        let p = wide.units();
        let narrow = |t: &Tensor| t.to_kind(Kind::Float);
        let u = match kind {
            "bernoulli" => Units::bernoulli(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c)),
            "gaussian" => {
                let sigma = Tensor::from_slice(&[0.5f32, 1.5]);
                Units::gaussian(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c), &sigma)
            }
            "ising" => Units::ising(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c)),
            _ => Units::potts(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c), Q),
        };
        let rbm = Rbm::from_units(&u.unwrap(), false).unwrap();
        let v = sample(&wide, 30, 1);
        let h = Tensor::ones([30, 3], (Kind::Double, Device::Cpu));
        let ais = Ais::new().steps(3).walkers(5).quiet();
        // each public function that takes rows, with what it gives for the wide machine
        type Take = fn(&Rbm, &Tensor, &Tensor, &Ais) -> jarzynski::Result<f64>;
        let all: [(&str, bool, Take); 9] = [
            ("log_likelihood", true, |m, v, _, _| Ok(m.log_likelihood(v, 1.0)?.sum(Kind::Double).double_value(&[]))),
            ("log_prob", true, |m, v, _, _| Ok(log_prob(m, v, 1.0)?.sum(Kind::Double).double_value(&[]))),
            ("exact_log_likelihood", true, |m, v, _, _| m.exact_log_likelihood(v)),
            ("exact_gradient", true, |m, v, _, _| Ok(m.exact_gradient(v)?[0].sum(Kind::Double).double_value(&[]))),
            ("pseudo_likelihood", true, |m, v, _, _| m.pseudo_likelihood(v, &mut Rng::new(1))),
            ("Ais::log_likelihood", true, |m, v, _, ais| ais.log_likelihood(m, v).map(|_| 0.0)),
            ("hidden_means", false, |m, v, _, _| Ok(m.hidden_means(v)?.sum(Kind::Double).double_value(&[]))),
            ("reconstruct", false, |m, v, _, _| Ok(m.reconstruct(v)?.sum(Kind::Double).double_value(&[]))),
            ("visible_means", false, |m, _, h, _| Ok(m.visible_means(h)?.sum(Kind::Double).double_value(&[]))),
        ];
        for (name, support, take) in all {
            if name == "pseudo_likelihood" && kind == "gaussian" {
                let text = take(&rbm, &v, &h, &ais).unwrap_err().to_string();
                assert!(text.contains("gaussian") && text.contains("discrete"), "{text}");
                continue;
            }
            let (a, b) = (take(&rbm, &v, &h, &ais).unwrap(), take(&wide, &v, &h, &ais).unwrap());
            assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{kind}, {name}: f64 rows give {a}, {b} in f64");
            let text = take(&rbm, &v.narrow(1, 0, 1), &h.narrow(1, 0, 1), &ais).unwrap_err().to_string();
            assert!(text.contains("has shape [30, 1]"), "{kind}, {name}: {text}");
            let nan = (&v * f64::NAN, &h * f64::NAN);
            let text = take(&rbm, &nan.0, &nan.1, &ais).unwrap_err().to_string();
            assert!(text.contains("not finite"), "{kind}, {name}: {text}");
            if support && kind != "gaussian" {
                let text = take(&rbm, &(&v * 0.5 + 0.3), &h, &ais).unwrap_err().to_string();
                assert!(
                    text.contains("at row 0, column") && (text.contains("visible units") || text.contains("Potts")),
                    "{kind}, {name}: {text}"
                );
            }
        }
    }
    // Potts: two ones, or none, in one unit
    for bad in [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]] {
        let text = Rbm::potts(&Tensor::from_slice(&bad).view([1, 3]), Q, &RbmShape::default()).unwrap_err().to_string();
        assert!(text.contains("row 0, column 0") && text.contains("one 1 and 2 zeros"), "{text}");
    }
    let states = Tensor::from_slice(&[0.0, 3.0]).view([1, 2]);
    assert!(one_hot(&states, Q).unwrap_err().to_string().contains("3 at row 0, column 1"));
    assert!(one_hot(&states, 1).unwrap_err().to_string().contains("q = 1"));
    assert!(
        Rbm::potts(&one_hot(&states, 4).unwrap(), 3, &RbmShape::default()).unwrap_err().to_string().contains("q = 3")
    );
    let zero = Tensor::from_slice(&[1.0, 0.0]).view([1, 2]);
    assert!(Rbm::ising(&zero, &RbmShape::default()).unwrap_err().to_string().contains("0 at row 0, column 1"));
}

#[test]
fn the_pseudo_likelihood_of_every_discrete_kind_is_the_sum_over_its_units() {
    for kind in DISCRETE {
        let rbm = machine(kind, 1.0, false);
        let v = sample(&rbm, 40, 5);
        let (width, each) = if kind == "potts" { (Q as usize, 2) } else { (1, 4) };
        let f = |v: &[f64]| rbm.evaluate(&tensor(&[v.to_vec()])).u.double_value(&[0]);
        let states = visible_states(kind);
        let exact: Vec<f64> = rows(&v)
            .iter()
            .map(|v| {
                let of_unit = |j: usize| {
                    let apart = |s: &&Vec<f64>| (0..v.len()).all(|i| i / width == j || s[i] == v[i]);
                    -f(v) - log_sum(states.iter().filter(apart).map(|s| -f(s)))
                };
                (0..each).map(of_unit).sum()
            })
            .collect();
        let exact = exact.iter().sum::<f64>() / 40.0;
        let got: Vec<f64> = (0..300).map(|s| rbm.pseudo_likelihood(&v, &mut Rng::new(s)).unwrap()).collect();
        let (mean, se) = frame::mean_se(&got);
        assert!(((mean - exact) / se).abs() < 5.0, "{kind}: {mean} ± {se}, exact {exact}");
    }
}
