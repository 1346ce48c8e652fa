//! Check estimates of log Z from both directions: reverse runs, the bracket, BAR, MBAR, and tempering's own log Z.

use crate::common::{Drifting, FAR, z_of};
use jarzynski::density::{Bipartite, Geometric, LayersPath};
use jarzynski::io::frame::mean_se;
use jarzynski::kernel::{Gibbs, GibbsReverse};
use jarzynski::model::{Gaussian, Rbm, RbmShape, exact_draws};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::{Bracket, ReverseStart};
use jarzynski::walkers::{bar, mbar};
use jarzynski::{
    Ais, Base, Checkpointing, Energy, Estimate, Mala, Method, Path, Reversed, Rng, Tempering, Trainer, Transport, Ula,
};

pub fn z(e: Estimate, exact: f64) -> f64 {
    z_of(&e, exact)
}

/// A binary machine with W, b, c ~ N(0, scale²).
pub fn machine(dv: i64, dh: i64, scale: f64, seed: u64) -> Rbm {
    let mut rng = Rng::new(seed);
    let mut draw = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu) * scale;
    Rbm::with_parameters(&draw(&[dv, dh]), &draw(&[dv]), &draw(&[dh]), None, false).unwrap()
}

/// N(0, s²) for each width, n draws each, as energies of every draw under every state.
fn widths(s: &[f64], n: &[usize], rng: &mut Rng) -> Tensor {
    let draws: Vec<Tensor> =
        s.iter().zip(n).map(|(s, n)| rng.normal(&[*n as i64], Kind::Double, Device::Cpu) * *s).collect();
    let x = Tensor::cat(&draws, 0);
    Tensor::stack(&s.iter().map(|s| x.square() / (2.0 * s * s)).collect::<Vec<_>>(), 0)
}

#[test]
fn mbar_of_two_states_is_bar() {
    for counts in [[300, 300], [500, 80]] {
        let u = widths(&[1.0, 1.8], &counts, &mut Rng::new(1));
        let a = Vec::<f64>::try_from(u.get(0) - u.get(1)).unwrap();
        let two = bar(&a[..counts[0]], &a[counts[0]..]).unwrap().log_ratio;
        let many = mbar(&u, &counts).unwrap().log_ratio(0, 1).unwrap();
        assert!((two.value - many.value).abs() < 1e-9 && (two.se - many.se).abs() < 1e-9, "{two} {many}");
        assert!(z(two, 1.8f64.ln()).abs() < FAR);
    }
}

#[test]
fn mbar_has_the_error_of_replicates() {
    // the third state was not drawn from
    let (s, counts) = ([1.0, 1.5, 1.9, 2.5], [200, 100, 0, 300]);
    let found: Vec<[Estimate; 3]> = (0..200)
        .map(|seed| {
            let mbar = mbar(&widths(&s, &counts, &mut Rng::new(seed)), &counts).unwrap();
            [(0, 3), (1, 2), (3, 1)].map(|(a, b)| mbar.log_ratio(a, b).unwrap())
        })
        .collect();
    for (i, (a, b)) in [(0, 3), (1, 2), (3, 1)].into_iter().enumerate() {
        let values: Vec<f64> = found.iter().map(|f| f[i].value).collect();
        let sd = mean_se(&values).1 * 200f64.sqrt();
        let se = mean_se(&found.iter().map(|f| f[i].se).collect::<Vec<_>>()).0;
        assert!(z_of(&values, f64::ln(s[b] / s[a])).abs() < FAR, "{a} {b}");
        assert!((se / sd - 1.0).abs() < FAR / 400f64.sqrt(), "{a} {b}: {se} {sd}");
    }
    // Twin: draws counted for another state.
    let u = widths(&s, &counts, &mut Rng::new(0));
    let wrong = mbar(&u, &[300, 100, 0, 200]).unwrap().log_ratio(0, 3).unwrap();
    assert!(z(wrong, 2.5f64.ln()).abs() > FAR, "{wrong}");
}

#[test]
fn mbar_refuses_what_it_cannot_weigh() {
    let u = widths(&[1.0, 2.0], &[5, 5], &mut Rng::new(0));
    for (u, counts, wanted) in [
        (u.copy(), vec![5, 6], "[2, 11]"),
        (u.copy(), vec![0, 0], "[2, 0]"),
        (&u * f64::NAN, vec![5, 5], "energy"),
        (u.full_like(f64::INFINITY), vec![5, 5], "+∞"),
    ] {
        let e = mbar(&u, &counts).unwrap_err().to_string();
        assert!(e.contains(wanted), "{e}");
    }
    assert!(mbar(&u, &[5, 5]).unwrap().log_ratio(0, 2).unwrap_err().to_string().contains("state = 2"));
}

#[test]
fn exact_draws_have_the_exact_means() {
    for (dv, dh) in [(7, 4), (4, 7)] {
        let rbm = machine(dv, dh, 1.0, 3);
        let exact = rbm.exact().unwrap();
        let (v, h) = exact_draws(&rbm.layers(), 40_000, &mut Rng::new(1)).unwrap();
        for j in 0..dv {
            assert!(z_of(&v.select(1, j), exact.v.double_value(&[j])).abs() < FAR, "{dv}×{dh}, {j}");
        }
        let both = v.select(1, 0) * h.select(1, 1);
        assert!(z_of(&both, exact.uh.double_value(&[0, 1])).abs() < FAR);
        // rows are in no order: the first ones alone are draws too
        assert!(z_of(&h.narrow(0, 0, 4_000).select(1, 0), exact.h.double_value(&[0])).abs() < FAR);
        // Twin: the other machine's means.
        let other = machine(dv, dh, 1.0, 4).exact().unwrap();
        assert!((0..dv).any(|j| z_of(&v.select(1, j), other.v.double_value(&[j])).abs() > FAR));
    }
}

/// z-scores of lower end, BAR and upper end.
fn scores(b: &Bracket, exact: f64) -> [f64; 3] {
    [z(b.lower, exact), z(b.bar, exact), z(b.upper, exact)]
}

#[test]
fn both_directions_of_ais_meet_the_exact_log_z() {
    let rbm = machine(9, 6, 0.8, 5);
    let exact = rbm.exact_log_z().unwrap();
    let (v, _) = exact_draws(&rbm.layers(), 2_000, &mut Rng::new(2)).unwrap();
    let tempered = Tempering::new().replicas(6).chains(2_000).rounds(60).seed(1).run(&rbm).unwrap();
    assert!(
        tempered.round_trips > 1.0 && tempered.log_z.warning.is_none(),
        "{} {}",
        tempered.round_trips,
        tempered.log_z
    );
    assert!(z(tempered.log_z, exact).abs() < FAR && z(tempered.drift, 0.0).abs() < FAR, "{}", tempered.log_z);
    for start in [ReverseStart::exact(&v), (&tempered).into()] {
        for ais in [Ais::new(), Ais::new().scaled(), Ais::new().through(vec![machine(9, 6, 0.5, 6).units()])] {
            let found = ais.steps(30).walkers(2_000).quiet().bracket(&rbm, &start).unwrap();
            assert!(scores(&found, exact).iter().all(|z| z.abs() < FAR), "{found}, exact {exact}");
            assert!(found.bar.se <= found.lower.se.min(found.upper.se) && found.bar.warning.is_none(), "{found}");
            assert!(found.overlap > 0.1 && found.forward.len() == 2_000 && found.reverse.len() == 2_000);
        }
    }
    // Twins: reverse walkers from coin flips and from one row are no draws of the model, and the estimates show it.
    let coins = v.rand_like().round();
    let found = Ais::new().steps(30).walkers(2_000).quiet().bracket(&rbm, &ReverseStart::unchecked(&coins)).unwrap();
    assert!(z(found.upper, exact).abs() > FAR && found.bar.warning == Some("equilibration"), "{found}");
    let found = Ais::new().steps(30).walkers(2_000).quiet().bracket(&rbm, &ReverseStart::chains(&v, &coins)).unwrap();
    assert!(found.drift.unwrap().value.abs() > FAR * found.drift.unwrap().se, "{found}");
    assert!(found.bar.warning == Some("equilibration") && z(found.bar, exact).abs() < FAR, "{found}");
    // the likelihood has its ends exchanged
    let found = Ais::new().steps(30).walkers(2_000).quiet().bracket(&rbm, &ReverseStart::exact(&v)).unwrap();
    let told = found.log_likelihood(&rbm, &v).unwrap();
    let true_value = rbm.exact_log_likelihood(&v).unwrap();
    assert!(scores(&told, true_value).iter().all(|z| z.abs() < FAR), "{told}, exact {true_value}");
    assert!((told.lower.value + found.upper.value - told.bar.value - found.bar.value).abs() < 1e-9);
}

#[test]
fn the_ends_bound_in_expectation_and_bar_has_its_error() {
    // few steps and few walkers: biases of half the variance in opposite directions
    let rbm = machine(7, 5, 1.0, 8);
    let exact = rbm.exact_log_z().unwrap();
    let found: Vec<Bracket> = (0..60)
        .map(|seed| {
            let (v, _) = exact_draws(&rbm.layers(), 60, &mut Rng::new(seed)).unwrap();
            Ais::new().steps(4).walkers(60).seed(seed).quiet().bracket(&rbm, &ReverseStart::exact(&v)).unwrap()
        })
        .collect();
    let off = |f: fn(&Bracket) -> Estimate| z_of(&found.iter().map(|b| f(b).value).collect::<Vec<_>>(), exact);
    let (low, middle, high) = (off(|b| b.lower), off(|b| b.bar), off(|b| b.upper));
    assert!(low < 0.0 && high > 0.0 && middle.abs() < FAR, "{low} {middle} {high}");
    // Σ z² of 60 is 60 ± √120
    let square: f64 = found.iter().map(|b| z(b.bar, exact).powi(2)).sum();
    assert!((square - 60.0).abs() < FAR * 120f64.sqrt(), "{square}");
}

#[test]
fn every_gibbs_scan_keeps_crooks_identity() {
    let (dv, dh) = (5, 4);
    let path_of = |joint: bool| {
        let rbm = machine(dv, dh, 0.6, 11);
        LayersPath::to(&Rbm::from_units(&rbm.units(), joint).unwrap()).unwrap()
    };
    let rbm = machine(dv, dh, 0.6, 11);
    let exact = rbm.exact_log_z().unwrap();
    let (v, h) = exact_draws(&rbm.layers(), 20_000, &mut Rng::new(4)).unwrap();
    for reverse in [GibbsReverse::SameScan, GibbsReverse::ReversedScan, GibbsReverse::Exact, GibbsReverse::Collapsed] {
        let joint = reverse != GibbsReverse::Collapsed;
        let x = if joint { Tensor::cat(&[&v, &h], 1) } else { v.shallow_clone() };
        for sweeps in [1, 3] {
            let transport = Transport::new(Gibbs { sweeps, reverse }, 4, 20_000, 1).quiet();
            let found = transport.bracket(&path_of(joint), &ReverseStart::exact(&x)).unwrap();
            let all = scores(&found, exact);
            assert!(all.iter().all(|z| z.abs() < FAR), "{reverse:?}, {sweeps} sweeps: {all:?}, {found}");
            // p_F(A) e^{A − C} = p_R(A) in bounded moments
            let c = exact - found.log_z0;
            let p = |a: &f64| 1.0 / (1.0 + (a - c).exp());
            for g in [|_: f64| 1.0, f64::tanh, |x: f64| (2.0 * x).cos()] {
                let f: Vec<f64> = found.forward.iter().map(|a| (1.0 - p(a)) * g(a - c)).collect();
                let r: Vec<f64> = found.reverse.iter().map(|a| p(a) * g(a - c)).collect();
                let ((f, f_se), (r, r_se)) = (mean_se(&f), mean_se(&r));
                assert!(((f - r) / f_se.hypot(r_se)).abs() < FAR, "{reverse:?}, {sweeps} sweeps: {f} {r}");
            }
        }
    }
}

#[test]
fn late_modes_show_in_the_bracket() {
    let rbm = late_mode();
    let exact = rbm.exact_log_z().unwrap();
    let (v, _) = exact_draws(&rbm.layers(), 2_000, &mut Rng::new(5)).unwrap();
    let found = Ais::new().steps(300).walkers(500).quiet().bracket(&rbm, &ReverseStart::exact(&v)).unwrap();
    // the lower end is sure of a wrong number; reverse walkers start in the mode
    assert!(z(found.lower, exact) < -FAR && (found.lower.value - exact + 2.13).abs() < 0.01, "{found}");
    assert!(z(found.bar, exact).abs() < FAR && found.bar.value - found.lower.value > 1.5, "{found}");
}

/// 60 binary units and one hidden one: where it is on, the visible units are at 73 % and have e² times the mass of the rest.
pub fn late_mode() -> Rbm {
    let softplus = |x: f64| x.exp().ln_1p();
    let (w, b) = (
        Tensor::full([60, 1], 4.0, (Kind::Double, Device::Cpu)),
        Tensor::full([60], -3.0, (Kind::Double, Device::Cpu)),
    );
    let c = 2.0 - 60.0 * (softplus(1.0) - softplus(-3.0));
    Rbm::with_parameters(&w, &b, &Tensor::from_slice(&[c]), None, false).unwrap()
}

/// A machine trained on binarised digits, enlarged to `side` × `side` pixels.
fn trained(side: i64, hidden: usize, steps: usize, lr: f64) -> Rbm {
    let digits = jarzynski::data::digits().unwrap();
    let x = (digits.x.to_kind(Kind::Float) / 16.0).view([-1, 1, 8, 8]);
    let x = x.upsample_bilinear2d([side, side].as_slice(), false, None, None).view([-1, side * side]);
    let x = x.gt(0.5).to_kind(Kind::Float);
    let mut rbm = Rbm::bernoulli(&x, &RbmShape { hidden, centred: true, ..Default::default() }).unwrap();
    let trainer = Trainer::new(Gibbs::new(), Method::Pcd).walkers(100).batch(100).steps(steps).lr(lr).quiet();
    assert!(trainer.train(&mut rbm, &x).unwrap().finished());
    rbm
}

#[test]
fn a_trained_machine_is_bracketed_within_a_tenth_of_a_nat() {
    let rbm = trained(8, 10, 2_000, 0.2);
    let exact = rbm.exact_log_z().unwrap();
    let (v, _) = exact_draws(&rbm.layers(), 1_000, &mut Rng::new(5)).unwrap();
    let tempered = Tempering::new().straight(6).chains(1_000).rounds(120).run(&rbm).unwrap();
    assert!(z(tempered.log_z, exact).abs() < FAR, "{}, exact {exact}", tempered.log_z);
    for start in [ReverseStart::exact(&v), (&tempered).into()] {
        let found = Ais::new().steps(200).walkers(1_000).quiet().bracket(&rbm, &start).unwrap();
        for end in [found.lower, found.upper, found.bar] {
            assert!((end.value - exact).abs() < 0.1 && z(end, exact).abs() < FAR, "{found}, exact {exact}");
        }
    }
}

#[test]
#[ignore = "needs a minute"]
fn both_directions_of_a_784_by_16_machine_are_within_a_tenth_of_a_nat() {
    let rbm = trained(28, 16, 1_500, 0.05);
    let exact = rbm.exact_log_z().unwrap();
    let (v, _) = exact_draws(&rbm.layers(), 500, &mut Rng::new(5)).unwrap();
    let found = Ais::new().steps(4_000).walkers(500).quiet().bracket(&rbm, &ReverseStart::exact(&v)).unwrap();
    println!("784×16: exact {exact}, {found}, overlap {:.2}", found.overlap);
    for end in [found.lower, found.upper, found.bar] {
        assert!((end.value - exact).abs() < 0.1 && z(end, exact).abs() < FAR, "{found}, exact {exact}");
    }
    let tempered = Tempering::new().straight(10).chains(500).rounds(300).run(&rbm).unwrap();
    println!("tempering: {}, drift {}, {:.1} round trips", tempered.log_z, tempered.drift, tempered.round_trips);
    let found = Ais::new().steps(2_000).walkers(500).quiet().bracket(&rbm, &(&tempered).into()).unwrap();
    println!("from tempered chains: {found}, overlap {:.2}", found.overlap);
    assert!(z(found.bar, exact).abs() < FAR, "{found}");
}

#[test]
fn where_forward_walkers_die_the_upper_end_is_a_bound_only() {
    /// ½x² for x > 0, else +∞.
    #[derive(Debug)]
    struct Half;
    impl Energy for Half {
        fn energy(&self, x: &Tensor) -> Tensor {
            let u = x.square().sum_dim_intlist(-1, false, Kind::Double) * 0.5;
            u.masked_fill(&x.select(1, 0).le(0.0), f64::INFINITY)
        }
        fn evaluate(&self, x: &Tensor) -> jarzynski::Evaluation {
            jarzynski::Evaluation::new(x.shallow_clone(), self.energy(x), x.copy())
        }
    }
    impl jarzynski::Differentiable for Half {}
    let path = Geometric { base: Gaussian::new(&[0.0], &[1.0]).unwrap(), target: Half };
    let draws = Rng::new(1).normal(&[4_000, 1], Kind::Double, Device::Cpu).abs();
    let transport = Transport::new(Reversed::new(Mala::new(0.2)), 10, 4_000, 2).quiet();
    let found = transport.bracket(&path, &ReverseStart::exact(&draws)).unwrap();
    let exact = path.base.log_z() - 2f64.ln();
    assert!(z(found.lower, exact).abs() < FAR && z(found.bar, exact).abs() < FAR, "{found}, exact {exact}");
    // reverse paths cannot come from where forward ones die: E_R e^{−A} = (Z_0/Z_1) P_F(A > −∞)
    assert!((found.upper.value - path.base.log_z()).abs() < 1e-9, "{found}");
    let e = transport.reverse(&path, &-draws).unwrap_err().to_string();
    assert!(e.contains("start of a reverse run"), "{e}");
}

#[test]
fn reverse_runs_are_recorded_and_resumed_with_the_same_bits() {
    let path = Drifting::new(2, 0.8, 0.75);
    let draws = Rng::new(1).normal(&[500, 2], Kind::Double, Device::Cpu) * 0.75 + 0.8;
    let transport = || Transport::new(Ula::new(0.1), 12, 1, 3).quiet();
    let whole = transport().reverse(&path, &draws).unwrap();
    assert_eq!((whole.label.as_str(), whole.walkers.len(), whole.stats.height()), ("reverse", 500, 13));
    let t = whole.column("t").unwrap();
    assert!(t[0] == 1.0 && t[12] == 0.0 && t.windows(2).all(|w| w[0] > w[1]));
    assert!(whole.summary().contains("t = 0, less that of its end"), "{}", whole.summary());
    assert!(z(whole.walkers.log_z(), -2.0 * 0.75f64.ln() + path.base().log_z() - path.base().log_z()).abs() < FAR);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let part = transport().checkpointing(Checkpointing::new(&dir).pause_after_steps(5)).reverse(&path, &draws).unwrap();
    assert!(!part.finished());
    let other = transport().resume_or_start(&dir).reverse(&path, &(&draws + 0.1)).unwrap_err().to_string();
    assert!(other.contains("start"), "{other}");
    let rest = transport().resume_or_start(&dir).reverse(&path, &draws).unwrap();
    assert!(rest.walkers.log_weights().equal(whole.walkers.log_weights()) && rest.walkers.x().equal(whole.walkers.x()));
    assert_eq!(rest.column("log_z").unwrap(), whole.column("log_z").unwrap());
    // both directions, each in a folder of its own
    let both = || transport().resume_or_start(folder.path().join("both"));
    let mut forward = both();
    forward.walkers = 500;
    let found = forward.bracket(&path, &ReverseStart::chains(&draws, &draws)).unwrap();
    assert!(["forward", "reverse", "reverse-halfway"].iter().all(|d| folder.path().join("both").join(d).is_dir()));
    assert!(found.drift.is_some() && found.bar.warning.is_none() && format!("{found}").contains("drift"), "{found}");
}
