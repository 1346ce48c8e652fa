//! Check learned flows: exact before training, differentiable rightly, trained by regression, weighed exactly after.

use crate::common::{FAR, Measured, z_of};
use jarzynski::kernel::{FlowKernel, Map, Ode};
use jarzynski::model::{Bridge, FlowNet, FlowShape, Interpolation, Mixture, Score, Velocity};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{Escorted, Flow, FlowSettings, FlowTrainer, Outcome, Path, Rng, Transport, transport};

fn max(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

fn data(kind: Kind) -> Tensor {
    let means = [vec![-1.0, 0.5], vec![1.5, 0.0]];
    let m = Mixture::with_sigma(&means, &[0.4, 0.6], &[0.5, 0.3], kind, Device::Cpu).unwrap();
    m.sample(2_000, &mut Rng::new(1))
}

fn small(score: Score, velocity: Velocity) -> FlowShape {
    FlowShape { widths: vec![16, 16], score, velocity, seed: 3, ..Default::default() }
}

/// Moves every parameter, so that the networks' last layers are not zero.
fn stir(flow: &FlowNet) {
    let mut rng = Rng::new(9);
    tch::no_grad(|| {
        for mut p in flow.vars().trainable_variables() {
            let noise = rng.normal(&p.size(), p.kind(), p.device()) * 0.2;
            let _ = p.g_add_(&noise);
        }
    });
}

fn points(n: i64) -> Tensor {
    Rng::new(2).normal(&[n, 2], Kind::Double, Device::Cpu)
}

#[test]
fn gradients_and_tangents_agree_with_differences() {
    let x = points(30);
    for (bridge, velocity) in [
        (Bridge::default(), Velocity::Net),
        (Bridge { interpolation: Interpolation::diffusion(), ..Default::default() }, Velocity::Score),
    ] {
        let flow = FlowNet::from_noise(&bridge, &data(Kind::Double), &small(Score::Energy, velocity)).unwrap();
        stir(&flow);
        for t in [0.05, 0.5, 1.0] {
            let at = flow.arrive(t, &x);
            assert!(max(&(&at.u - flow.energy(t, &x))) < 1e-12);
            assert!(max(&(at.drift().unwrap() - flow.velocity(t, &x))) < 1e-12);
            let (b, j) = flow.linearise(t, &x);
            assert!(max(&(b - at.drift().unwrap())) < 1e-12);
            for i in 0..2 {
                let shift = Tensor::zeros_like(&x);
                let _ = shift.select(1, i).fill_(1e-5);
                let (up, down) = (&x + &shift, &x - &shift);
                let du = tch::no_grad(|| flow.energy(t, &up) - flow.energy(t, &down)) / 2e-5;
                assert!(max(&(du - at.grad().select(1, i))) < 1e-6, "∇U, {velocity:?}, t = {t}");
                let db = tch::no_grad(|| flow.velocity(t, &up) - flow.velocity(t, &down)) / 2e-5;
                let scale = 1.0 + max(&j);
                assert!(max(&(db - j.select(2, i))) < 1e-6 * scale, "J_b, {velocity:?}, t = {t}");
            }
            let v = Rng::new(4).normal(&[30, 2, 3], Kind::Double, Device::Cpu);
            assert!(max(&(flow.push(t, &x, &v).1 - j.matmul(&v))) < 1e-10 * (1.0 + max(&j)));
        }
    }
}

#[test]
fn untrained_it_is_the_exact_flow_of_a_gaussian() {
    let x = data(Kind::Double);
    let bridge = Bridge { gamma: 0.3, ..Default::default() };
    let flow = FlowNet::from_noise(&bridge, &x, &small(Score::Energy, Velocity::Net)).unwrap();
    let y = points(50);
    for t in [0.2, 0.7] {
        let (at, (_, j)) = (flow.arrive(t, &y), flow.linearise(t, &y));
        let flux = (at.drift().unwrap() * at.grad()).sum_dim_intlist(-1, false, Kind::Double);
        let trace = j.diagonal(0, 1, 2).sum_dim_intlist(-1, false, Kind::Double);
        assert!(max(&(trace - flux - flow.rate(t, &y))) < 1e-6, "∂_tρ + ∇·(bρ) = 0");
    }
    let run = transport(Ode::new(Map::Rk4), &flow, 8, 4_000, 1).unwrap();
    assert!(run.walkers.ess() > 0.999 && run.walkers.log_z().value.abs() < 1e-3);
    // mean and variance of the data plus smoothing
    for i in 0..2 {
        let (mean, var) = (x.select(1, i).mean(Kind::Double), x.select(1, i).var(false) + 0.01);
        let m = run.walkers.mean(&run.walkers.x().select(1, i)).unwrap();
        assert!(z_of(&m, mean.double_value(&[])).abs() < FAR);
        let v = run.walkers.mean(&(run.walkers.x().select(1, i) - mean).square()).unwrap();
        assert!(z_of(&v, var.double_value(&[])).abs() < FAR);
    }
}

/// log ∫e^{−U(1, ·)} and the mass left of 0, on a fine grid.
fn quadrature(flow: &FlowNet) -> (f64, f64) {
    let line = Tensor::linspace(-8.0, 8.0, 801, (Kind::Double, Device::Cpu));
    let grid = Tensor::cartesian_prod(&[&line, &line]);
    let log = -tch::no_grad(|| flow.energy(1.0, &grid));
    let left = grid.select(1, 0).lt(0.0).to_kind(Kind::Double) + grid.select(1, 0).eq(0.0).to_kind(Kind::Double) * 0.5;
    let log_z = log.logsumexp(0, false).double_value(&[]) + 2.0 * 0.02f64.ln();
    (log_z, left.dot(&log.softmax(0, Kind::Double)).double_value(&[]))
}

fn train(flow: &mut FlowNet, x: &Tensor, steps: usize) -> jarzynski::Run {
    let s =
        FlowSettings { steps, batch: 128, lr: 5e-3, every: 20.min(steps.max(1)), progress: 0.0, ..Default::default() };
    FlowTrainer::new().settings(s).train(flow, x).unwrap()
}

#[test]
fn training_lowers_the_losses_and_weights_meet_the_learned_distribution() {
    let x = data(Kind::Double);
    let mut flow = FlowNet::from_noise(&Bridge::default(), &x, &small(Score::Energy, Velocity::Net)).unwrap();
    let run = train(&mut flow, &x, 300);
    assert!(run.finished() && run.weighted && run.label == "flow");
    for loss in ["loss_velocity", "loss_score", "loss_time"] {
        let v = run.column(loss).unwrap();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        assert!(mean(&v[v.len() - 5..]) < mean(&v[..2]), "{loss}: {v:?}");
    }
    let (log_z, left) = quadrature(&flow);
    for name in ["escorted", "matched", "euler-ula", "euler-mala", "rk4-mala", "ode-rk4"] {
        let run = transport(FlowKernel::named(name, 0.3).unwrap(), &flow, 12, 8_000, 2).unwrap();
        assert!(run.finished() && run.walkers.ess() > 0.1, "{name}: ESS {}", run.walkers.ess());
        let (z, m) = (
            run.walkers.log_z(),
            run.walkers.mean(&run.walkers.x().select(1, 0).lt(0.0).to_kind(Kind::Double)).unwrap(),
        );
        assert!(z_of(&z, log_z).abs() < FAR, "{name}: log Z {z}, by quadrature {log_z}");
        assert!(z_of(&m, left).abs() < FAR, "{name}: mass {m:?}, by quadrature {left}");
    }
    // The twin: few plain steps are not samples of the learned distribution.
    let run = Transport::new(Escorted::new(0.3), 3, 8_000, 2).plain().run(&flow).unwrap();
    let second = |x: &Tensor| x.select(1, 0).square();
    let exact = {
        let run = transport(FlowKernel::named("rk4-mala", 0.3).unwrap(), &flow, 12, 8_000, 3).unwrap();
        run.walkers.mean(&second(run.walkers.x())).unwrap()
    };
    let plain = second(run.walkers.x());
    let (mean, se) = plain.value_and_se();
    assert!(z_of(&(mean, se.hypot(exact.se)), exact.value).abs() > FAR);
}

#[test]
fn a_diffusion_learns_b_from_its_score_and_its_start_is_weighed() {
    let x = data(Kind::Double);
    let along = Interpolation::Diffusion { beta_min: 0.1, beta_max: 6.0 };
    let bridge = Bridge { interpolation: along, ..Default::default() };
    let mut flow = FlowNet::from_noise(&bridge, &x, &small(Score::Energy, Velocity::Score)).unwrap();
    assert!(flow.vars().variables().keys().all(|k| !k.starts_with("velocity")));
    let run = train(&mut flow, &x, 200);
    assert!(run.column("loss_velocity").is_err(), "no velocity network, no loss of it");
    // N(0, I) is not ρ_0: the walkers' A_0 differ.
    assert!(run.walkers.ess() < 0.9999 && run.walkers.ess() > 0.5, "{}", run.walkers.ess());
    let (log_z, _) = quadrature(&flow);
    for kernel in
        [FlowKernel::named("escorted", along.backward_noise().unwrap()).unwrap(), FlowKernel::Ode(Ode::default())]
    {
        let run = transport(kernel.clone(), &flow, 40, 4_000, 2).unwrap();
        let z = run.walkers.log_z();
        assert!(run.finished() && run.walkers.ess() > 0.1, "{kernel:?}: {:?} {}", run.outcome, run.walkers.ess());
        assert!(z_of(&z, log_z).abs() < FAR, "{kernel:?}: {z}, by quadrature {log_z}");
    }
}

#[test]
fn between_two_data_sets_walkers_start_from_smoothed_points() {
    let to = data(Kind::Double);
    let from = Rng::new(8).normal(&[300, 2], Kind::Double, Device::Cpu) * 0.7 - 1.0;
    let bridge = Bridge { gamma: 0.5, smoothing: 0.3, ..Default::default() };
    let mut flow = FlowNet::between(&bridge, &from, &to, &small(Score::Energy, Velocity::Net)).unwrap();
    let s = FlowSettings { steps: 300, batch: 128, lr: 5e-3, progress: 0.0, ..Default::default() };
    let run = FlowTrainer::new().settings(s).train_pairs(&mut flow, &from, &to).unwrap();
    assert!(run.finished() && run.walkers.ess() > 0.2, "{}", run.walkers.ess());
    let start = flow.base().sample(20_000, &mut Rng::new(1));
    let spread = start.var_dim([0i64].as_slice(), false, false) - from.var_dim([0i64].as_slice(), false, false);
    assert!(max(&(spread - 0.09)) < 0.05, "the points' spread grows by the smoothing");
    let (log_z, left) = quadrature(&flow);
    let run = transport(FlowKernel::named("euler-mala", 0.5).unwrap(), &flow, 20, 4_000, 2).unwrap();
    let (z, x) = (run.walkers.log_z(), run.walkers.x().select(1, 0).lt(0.0).to_kind(Kind::Double));
    let m = run.walkers.mean(&x).unwrap();
    assert!(run.walkers.ess() > 0.1, "{}", run.walkers.ess());
    assert!(z_of(&z, log_z).abs() < FAR && z_of(&m, left).abs() < FAR);
}

#[test]
fn a_score_without_energy_generates_but_cannot_be_weighed() {
    let x = data(Kind::Float);
    let mut flow = FlowNet::from_noise(&Bridge::default(), &x, &small(Score::Field, Velocity::Net)).unwrap();
    let run = train(&mut flow, &x, 40);
    assert!(run.finished() && !run.weighted && run.log_z().is_none() && run.column("loss_time").is_err());
    let text = transport(Escorted::new(0.5), &flow, 8, 100, 0).unwrap_err().to_string();
    assert!(text.contains("score") && text.contains("no U") && text.contains("plain"), "{text}");
    let run = Transport::new(Escorted::new(0.5), 8, 100, 0).plain().run(&flow).unwrap();
    assert!(run.finished() && run.walkers.x().isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn same_seed_same_bits_and_parameters_survive_the_disk() {
    let x = data(Kind::Float);
    let make = |steps| {
        let mut flow = FlowNet::from_noise(&Bridge::default(), &x, &small(Score::Energy, Velocity::Net)).unwrap();
        train(&mut flow, &x, steps);
        flow
    };
    let (a, b) = (make(30), make(30));
    let at = points(20).to_kind(Kind::Float);
    assert!(a.energy(0.7, &at).equal(&b.energy(0.7, &at)) && a.velocity(0.7, &at).equal(&b.velocity(0.7, &at)));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flow.safetensors");
    a.save(&file).unwrap();
    let mut c = make(1);
    assert!(!a.energy(0.7, &at).equal(&c.energy(0.7, &at)));
    c.load(&file).unwrap();
    assert!(a.energy(0.7, &at).equal(&c.energy(0.7, &at)));
}

#[test]
fn a_file_is_refused_by_a_flow_that_is_defined_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (file, x) = (dir.path().join("flow"), data(Kind::Float));
    let shape = small(Score::Energy, Velocity::Net);
    let make = |bridge: Bridge, x: &Tensor, shape: &FlowShape| FlowNet::from_noise(&bridge, x, shape).unwrap();
    make(Bridge::default(), &x, &shape).save(&file).unwrap();
    make(Bridge::default(), &x, &FlowShape { seed: 5, ..shape.clone() }).load(&file).unwrap();
    let refused = |mut flow: FlowNet, words: &[&str]| {
        let text = flow.load(&file).unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    refused(make(Bridge { smoothing: 0.2, ..Default::default() }, &x, &shape), &["bridge.smoothing = 0.1", "0.2"]);
    refused(
        make(Bridge::default(), &x, &FlowShape { frequencies: 5, ..shape.clone() }),
        &["frequencies = 3", "expected 5"],
    );
    refused(make(Bridge::default(), &x.to_kind(Kind::Double), &shape), &["kind", "Float", "Double"]);
    refused(FlowNet::between(&Bridge::default(), &x, &x, &shape).unwrap(), &["from = \"noise\"", "\"data\""]);
    // other data: other moments, and with them another energy
    refused(make(Bridge::default(), &(&x + 0.01), &shape), &["to.mean of coordinate"]);
    refused(make(Bridge::default(), &(&x * 1.01), &shape), &["to.mean of coordinate"]);
    let about_its_mean = (&x - x.mean_dim(0, true, None::<Kind>)) * 1.01 + x.mean_dim(0, true, None::<Kind>);
    refused(make(Bridge::default(), &about_its_mean, &shape), &["to.variance of coordinate"]);
    // the same data in another order have the same moments but for rounding
    make(Bridge::default(), &x.flip([0]), &shape).load(&file).unwrap();
}

#[test]
fn a_run_that_blows_up_keeps_its_rows_and_bad_input_is_named() {
    let x = data(Kind::Float);
    let fresh = || FlowNet::from_noise(&Bridge::default(), &x, &small(Score::Energy, Velocity::Net)).unwrap();
    let s = FlowSettings { steps: 60, lr: 1e30, every: 1, progress: 0.0, ..Default::default() };
    let run = FlowTrainer::new().settings(s).train(&mut fresh(), &x).unwrap();
    let Outcome::Diverged { cause, .. } = &run.outcome else { panic!("{:?}", run.outcome) };
    assert!(cause.contains("loss") && run.stats.height() > 0, "{cause}");

    let refused = |r: jarzynski::Result<FlowNet>, words: &[&str]| {
        let text = r.unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    let shape = small(Score::Energy, Velocity::Net);
    refused(
        FlowNet::from_noise(&Bridge { smoothing: 0.0, ..Default::default() }, &x, &shape),
        &["smoothing = 0", "positive"],
    );
    refused(FlowNet::from_noise(&Bridge { gamma: -1.0, ..Default::default() }, &x, &shape), &["gamma = -1"]);
    refused(FlowNet::from_noise(&Bridge::default(), &x.select(1, 0), &shape), &["data has shape", "[n, d]"]);
    refused(FlowNet::from_noise(&Bridge::default(), &(&x / 0.0), &shape), &["data is not finite"]);
    refused(FlowNet::from_noise(&Bridge::default(), &x, &FlowShape { widths: vec![], ..shape.clone() }), &["widths"]);
    let by_score = small(Score::Energy, Velocity::Score);
    refused(FlowNet::from_noise(&Bridge::default(), &x, &by_score), &["velocity", "t = 0"]);
    refused(FlowNet::between(&Bridge::default(), &x, &x, &by_score), &["velocity", "between two data sets"]);
    let diffusion = Bridge { interpolation: Interpolation::diffusion(), ..Default::default() };
    refused(FlowNet::between(&diffusion, &x, &x, &shape), &["interpolation", "linear or trigonometric"]);
    refused(FlowNet::between(&Bridge::default(), &x.narrow(1, 0, 1), &x, &shape), &["from has shape"]);

    let trained = |t: FlowTrainer, words: &[&str]| {
        let text = t.quiet().train(&mut fresh(), &x).unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    trained(FlowTrainer::new().batch(0), &["batch = 0"]);
    trained(FlowTrainer::new().lr(f64::NAN), &["lr = NaN"]);
    let text = FlowTrainer::new().quiet().train(&mut fresh(), &x.narrow(1, 0, 1)).unwrap_err().to_string();
    assert!(text.contains("data has shape"), "{text}");
    let text = FlowTrainer::new().quiet().train_pairs(&mut fresh(), &x, &x).unwrap_err().to_string();
    assert!(text.contains("from noise"), "{text}");
    let run = FlowTrainer::new().steps(0).quiet().train(&mut fresh(), &x).unwrap();
    assert!(run.finished() && run.stats.height() == 1);
}
