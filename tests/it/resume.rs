//! Interrupt runs at any moment and hold their continuations to the bits of a run that nobody interrupted.

use jarzynski::kernel::{Mala, Reversed, Whitened};
use jarzynski::model::{Bridge, FlowNet, FlowShape, Gaussian, Interpolant, Mixture, Mlp, MlpShape, Rbm, RbmShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{BinaryMatching, NoiseContrastive, ScoreMatching};
use jarzynski::{
    Ais, Checkpointing, DataNoise, Error, Escorted, FlowTrainer, Gibbs, Kernel, Method, Model, Optim, Outcome, Rng,
    Run, Schedule, Settings, Trainer, Transport, TrustRegion, Ula,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything but wall-clock time, in bits.
pub fn rows(run: &Run) -> Vec<(String, Vec<u64>)> {
    let names = run.stats.get_column_names();
    let names = names.iter().filter(|n| !["seconds", "warning"].contains(&n.as_str()));
    names.map(|n| (n.to_string(), run.column(n).unwrap().iter().map(|v| v.to_bits()).collect())).collect()
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.size() == b.size() && a.equal(b)
}

pub fn assert_same(what: &str, a: &Run, b: &Run) {
    for (a, b) in rows(a).iter().zip(rows(b).iter()) {
        assert_eq!(a, b, "{what}");
    }
    assert_eq!(rows(a).len(), rows(b).len(), "{what}");
    assert!(same(a.walkers.x(), b.walkers.x()) && same(a.walkers.log_weights(), b.walkers.log_weights()), "{what}");
    let z = |r: &Run| r.monitor.as_ref().map(|m| (m.log_z().value.to_bits(), m.log_z().se.to_bits(), m.resamplings()));
    assert_eq!(z(a), z(b), "{what}");
}

fn assert_same_model<M: Model>(what: &str, a: &M, b: &M) {
    for (name, t) in a.vars().variables() {
        assert!(same(&t, &b.vars().variables()[&name]), "{what}: {name}");
    }
}

/// Trains without a pause and with many, and compares.
fn check<M: Model, K: Kernel<M> + Clone>(
    what: &str,
    trainer: Trainer<K>,
    model: impl Fn() -> M,
    data: &Tensor,
    pause: usize,
) {
    let mut whole = model();
    let expected = trainer.clone().train(&mut whole, data).unwrap();
    assert!(expected.finished());
    let dir = tempfile::tempdir().unwrap();
    for call in 0.. {
        assert!(call < 100, "{what} does not get on");
        let mut part = model();
        let keep = Checkpointing::resume_or_start(dir.path()).pause_after_steps(pause).every_steps(2);
        let run = trainer.clone().checkpointing(keep).train(&mut part, data).unwrap();
        if let Outcome::Paused { step, cause } = &run.outcome {
            assert_eq!(*step, (call + 1) * pause, "{what}");
            assert!(cause.contains("steps of this call"), "{cause}");
            assert_eq!(rows(&Run::open(dir.path()).unwrap()), rows(&run), "{what}");
            continue;
        }
        assert!(run.finished());
        assert_same(what, &run, &expected);
        assert_same_model(what, &part, &whole);
        break;
    }
    let opened = Run::open(dir.path()).unwrap();
    assert!(opened.finished());
    assert_eq!(rows(&opened), rows(&expected), "{what}");
    // CD's start from the data once more after the last checkpoint
    if !matches!(trainer.method, Method::Cd { .. }) {
        assert_same(what, &opened, &expected);
    }
    // a finished run that is resumed is there at once, with the same bits
    let again = trainer.resume_or_start(dir.path()).train(&mut model(), data).unwrap();
    assert_same(what, &again, &expected);
}

fn settings(steps: usize) -> Settings {
    Settings { walkers: 60, steps, lr: 0.05, seed: 3, progress: 0.0, ..Default::default() }
}

fn mixture() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap()
}

fn points(n: usize) -> Tensor {
    Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7]).unwrap().sample(n, &mut Rng::new(1))
}

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.9 };

#[test]
fn natural_gradients() {
    let data = Rng::new(4).uniform_tensor(&[80, 6], Kind::Double, Device::Cpu).round();
    let rbm = || Rbm::bernoulli(&data, &RbmShape { hidden: 4, ..Default::default() }).unwrap();
    let optim = Optim::Natural { damping: 0.05, decay: 0.9, every: 5, momentum: 0.5 };
    let s = Settings { optim, lr: 1.0, trust_region: Some(TrustRegion::Shrink { ess: 0.9 }), ..settings(23) };
    check("natural", Trainer::new(Gibbs::new(), JARZYNSKI).settings(s.clone()), rbm, &data, 4);
    check("natural pcd", Trainer::new(Gibbs::new(), Method::Pcd).settings(s.clone()), rbm, &data, 7);
    let net = || Mlp::new(2, &MlpShape { widths: vec![5], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let kernel = Reversed::new(Mala::new(0.1));
    check("natural net", Trainer::new(kernel, JARZYNSKI).settings(s), net, &points(80), 6);
}

#[test]
fn closed_forms() {
    let all = settings(23);
    check("ula", Trainer::new(Ula::new(0.1), JARZYNSKI).settings(all.clone()), mixture, &points(80), 4);
    let momentum = Settings { optim: Optim::Sgd { momentum: 0.9 }, every: 3, batch: Some(16), ..all.clone() };
    check("pcd", Trainer::new(Ula::new(0.1), Method::Pcd).settings(momentum.clone()), mixture, &points(80), 7);
    check("cd", Trainer::new(Ula::new(0.1), Method::Cd { k: 2 }).settings(momentum), mixture, &points(80), 5);
    let bridged = Settings { trust_region: Some(TrustRegion::Substeps { ess: 0.99, max: 4 }), lr: 0.5, ..all };
    check(
        "bridge",
        Trainer::new(Ula::new(0.1).reverse_at(jarzynski::ReverseAt::Old), JARZYNSKI).settings(bridged),
        mixture,
        &points(80),
        6,
    );
}

#[test]
fn networks_with_kept_graphs() {
    let net =
        || Mlp::new(2, &MlpShape { widths: vec![16, 16], sigma: 2.0, seed: 3 }, Kind::Float, Device::Cpu).unwrap();
    let data = points(80).to_kind(Kind::Float);
    let all = Settings {
        optim: Optim::Adam,
        lr: 0.01,
        batch: Some(24),
        data_noise: 0.1.into(),
        schedule: Schedule::Cosine { end: 0.1 },
        moves: 2,
        ..settings(21)
    };
    // resampled at nearly every update, so that graphs are checkpointed between selection and use
    let often = Method::Jarzynski { ess_min: 1.0 };
    check("net, ula", Trainer::new(Ula::new(0.05), often).settings(all.clone()), net, &data, 4);
    let mala = Reversed::new(Mala::new(0.05));
    check("net, mala", Trainer::new(mala, often).settings(all.clone()), net, &data, 5);
    let decay = Settings { optim: Optim::AdamW { weight_decay: 0.01 }, moves: 1, ..all };
    check("net, adamw", Trainer::new(Ula::new(0.05), often).settings(decay.clone()), net, &data, 3);
    let start = Gaussian::fit(&data, 0.1).unwrap();
    let fitted = || {
        let shape = MlpShape { widths: vec![16, 16], seed: 3, ..Default::default() };
        Mlp::new(2, &shape, Kind::Float, Device::Cpu).unwrap().with_start(&start).unwrap()
    };
    check("whitened ula", Trainer::new(Whitened::new(Ula::new(0.05)), often).settings(decay.clone()), fitted, &data, 4);
    let mala = Whitened::new(Reversed::sweeps(Mala::new(0.1), 2));
    check("whitened mala", Trainer::new(mala, often).settings(decay), fitted, &data, 5);
}

#[test]
fn boltzmann_machines() {
    let data = Rng::new(5).uniform_tensor(&[100, 9], Kind::Float, Device::Cpu).round();
    let rbm = |joint, centred| {
        let shape = RbmShape { hidden: 5, scale: 0.3, joint, centred, ..Default::default() };
        Rbm::bernoulli(&data, &shape).unwrap()
    };
    let all = Settings { batch: Some(30), ..settings(17) };
    let trainer = |method| Trainer::new(Gibbs::new(), method).settings(all.clone());
    check("rbm", trainer(JARZYNSKI), || rbm(false, true), &data, 4);
    check("rbm, pcd", trainer(Method::Pcd), || rbm(false, false), &data, 5);
    check("rbm, cd", trainer(Method::Cd { k: 1 }), || rbm(false, false), &data, 6);
    check("rbm, ptt", trainer(Method::Ptt { rate: 0.9 }), || rbm(false, true), &data, 7);
    let grey = Rng::new(6).uniform_tensor(&[100, 9], Kind::Float, Device::Cpu);
    let anew = |method| trainer(method).data_noise(DataNoise::Bits);
    check("rbm, bits at every visit", anew(JARZYNSKI), || rbm(false, true), &grey, 4);
    check("rbm, cd, bits at every visit", anew(Method::Cd { k: 1 }), || rbm(false, false), &grey, 5);
    // annealed importance sampling, with temperatures by a pilot
    let ais = || Ais::new().steps(30).walkers(40).seed(2).adaptive(10);
    let (dir, machine) = (tempfile::tempdir().unwrap(), rbm(false, false));
    let expected = ais().run(&machine).unwrap();
    let part = || {
        let mut ais = ais();
        ais.checkpointing = Some(Checkpointing::resume_or_start(dir.path()).pause_after_steps(7));
        ais.run(&machine).unwrap()
    };
    assert_eq!((0..20).map(|_| part()).position(|run| run.finished()), Some(4));
    assert_same("ais", &ais().resume_or_start(dir.path()).run(&machine).unwrap(), &expected);
    assert_eq!((expected.label.as_str(), Run::open(dir.path()).unwrap().label.as_str()), ("ais", "ais"));
    let joint = Gibbs::with(jarzynski::kernel::GibbsReverse::ReversedScan);
    check("rbm, joint", Trainer::new(joint, JARZYNSKI).settings(all.clone()), || rbm(true, false), &data, 4);
}

#[test]
fn transports_and_flows() {
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let transport = Transport::new(Escorted::new(0.5), 24, 80, 7).ess_min(0.95);
    let expected = transport.run(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let part = || {
        transport
            .clone()
            .checkpointing(Checkpointing::resume_or_start(dir.path()).pause_after_steps(5))
            .run(&path)
            .unwrap()
    };
    let calls = (0..50).map(|_| part()).position(|run| run.finished()).unwrap();
    assert_eq!(calls, 4);
    assert_same("transport", &part(), &expected);
    assert_same("transport", &Run::open(dir.path()).unwrap(), &expected);

    let data = points(60).to_kind(Kind::Float);
    let flow = || {
        FlowNet::from_noise(&Bridge::default(), &data, &FlowShape { widths: vec![16], ..Default::default() }).unwrap()
    };
    let trainer = FlowTrainer::new().steps(25).batch(20).quiet();
    let (mut whole, dir) = (flow(), tempfile::tempdir().unwrap());
    let expected = trainer.train(&mut whole, &data).unwrap();
    for _ in 0..50 {
        let mut part = flow();
        let keep = Checkpointing::resume_or_start(dir.path()).pause_after_steps(4);
        let run = trainer.clone().checkpointing(keep).train(&mut part, &data).unwrap();
        if run.finished() {
            assert_same("flow", &run, &expected);
            for (name, t) in whole.vars().variables() {
                assert!(same(&t, &part.vars().variables()[&name]), "{name}");
            }
            return;
        }
    }
    panic!("the flow's training does not get on");
}

/// Trains by descent without a pause and with many, and compares; the twin is another seed.
fn descends<M: Model>(what: &str, model: impl Fn() -> M, train: impl Fn(&mut M, Option<Checkpointing>, u64) -> Run) {
    let (mut whole, dir) = (model(), tempfile::tempdir().unwrap());
    let expected = train(&mut whole, None, 3);
    assert!(expected.finished(), "{what}: {:?}", expected.outcome);
    for call in 0.. {
        assert!(call < 50, "{what} does not get on");
        let mut part = model();
        let keep = Checkpointing::resume_or_start(dir.path()).pause_after_steps(4).every_steps(2);
        let run = train(&mut part, Some(keep), 3);
        if !run.finished() {
            assert!(matches!(run.outcome, Outcome::Paused { .. }), "{what}: {:?}", run.outcome);
            continue;
        }
        assert_same(what, &run, &expected);
        assert_same_model(what, &part, &whole);
        break;
    }
    assert_eq!(rows(&Run::open(dir.path()).unwrap()), rows(&expected), "{what}");
    assert_ne!(rows(&train(&mut model(), None, 4)), rows(&expected), "{what}: another seed");
}

#[test]
fn trainings_by_descent() {
    let net = || Mlp::new(2, &MlpShape { widths: vec![6], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let data = points(60);
    let optims = [Optim::Adam, Optim::Sgd { momentum: 0.5 }];
    for (i, matching) in [
        ScoreMatching::denoising(0.3),
        ScoreMatching::exact().data_noise(0.2),
        ScoreMatching::hutchinson(2),
        ScoreMatching::sliced(1),
    ]
    .into_iter()
    .enumerate()
    {
        let matching = matching.steps(17).batch(24).lr(0.01).every(3).optim(optims[i % 2]).quiet();
        descends("score matching", net, |model, keep, seed| {
            ScoreMatching { checkpointing: keep, ..matching.clone().seed(seed) }.train(model, &data).unwrap()
        });
    }
    let noise = Gaussian::fit(&data, 0.1).unwrap();
    for optim in optims {
        let nce = NoiseContrastive::new().ratio(1.5).log_z_lr(2.0).steps(17).batch(24).lr(0.01).optim(optim);
        let nce = nce.schedule(Schedule::Cosine { end: 0.1 }).quiet();
        descends("noise contrastive", net, |model, keep, seed| {
            NoiseContrastive { checkpointing: keep, ..nce.clone().seed(seed) }.train(model, &data, &noise).unwrap()
        });
    }
    let bits = Rng::new(5).uniform_tensor(&[80, 6], Kind::Double, Device::Cpu).round();
    let rbm =
        || Rbm::bernoulli(&bits, &RbmShape { hidden: 4, scale: 0.3, centred: true, ..Default::default() }).unwrap();
    for matching in
        [BinaryMatching::pseudo_likelihood(), BinaryMatching::ratio_matching(), BinaryMatching::probability_flow()]
    {
        let matching = matching.units(3).steps(17).batch(30).lr(0.01).quiet();
        descends("binary matching", rbm, |model, keep, seed| {
            BinaryMatching { checkpointing: keep, ..matching.clone().seed(seed) }.train(model, &bits).unwrap()
        });
    }
    // another noise is another run
    let dir = tempfile::tempdir().unwrap();
    let nce = |noise: &Gaussian| {
        NoiseContrastive::new().steps(5).quiet().resume_or_start(dir.path()).train(&mut net(), &data, noise)
    };
    nce(&noise).unwrap();
    let e = nce(&Gaussian::fit(&data, 0.2).unwrap()).unwrap_err();
    assert!(matches!(&e, Error::RunMismatch { key, .. } if key.starts_with("noise")), "{e}");
}

#[test]
fn a_longer_run_is_a_continuation_and_another_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = points(50);
    let trainer = |steps| Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings(steps));
    let run = trainer(10).checkpointing(dir.path()).train(&mut mixture(), &data).unwrap();
    assert_eq!(run.stats.height(), 11);
    let longer = trainer(15).resume_or_start(dir.path()).train(&mut mixture(), &data).unwrap();
    assert_same("longer", &longer, &trainer(15).train(&mut mixture(), &data).unwrap());
    let mismatch = |e: Error| match e {
        Error::RunMismatch { key, then, now, .. } => (key, then, now),
        e => panic!("{e}"),
    };
    let refused = |trainer: Trainer<Ula>, data: &Tensor| {
        mismatch(trainer.resume_or_start(dir.path()).train(&mut mixture(), data).unwrap_err())
    };
    let differs = |key: &str, then: &str, now: &str| (key.to_string(), then.to_string(), now.to_string());
    assert_eq!(refused(trainer(15).lr(0.1), &data), differs("settings.lr", "0.05", "0.1"));
    assert_eq!(refused(trainer(15), &points(51)).0, "data");
    let mut other = trainer(15);
    other.kernel = Ula::new(0.2);
    assert_eq!(refused(other, &data), differs("kernel.Ula.h", "0.1", "0.2"));
    let other = Trainer::new(Reversed::new(Mala::new(0.1)), JARZYNSKI).settings(settings(15));
    let e = other.resume_or_start(dir.path()).train(&mut mixture(), &data).unwrap_err();
    assert_eq!(mismatch(e).0, "kernel.Reversed");
    let mut wide = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5], vec![0.0, 0.0]], &[0.5, 0.25, 0.25]).unwrap();
    let e = trainer(15).resume_or_start(dir.path()).train(&mut wide, &data).unwrap_err();
    assert!(mismatch(e).0.starts_with("model.parameters."));
    // a scheduled rate depends on the length
    let scheduled = |steps| {
        let settings = Settings { schedule: Schedule::Linear { end: 0.0 }, ..settings(steps) };
        Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings)
    };
    let dir = tempfile::tempdir().unwrap();
    scheduled(5).checkpointing(dir.path()).train(&mut mixture(), &data).unwrap();
    let e = scheduled(6).resume_or_start(dir.path()).train(&mut mixture(), &data).unwrap_err();
    assert_eq!(mismatch(e), differs("schedule over", "5", "6"));
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let data = points(50);
    let train = |keep: Checkpointing| {
        Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings(5)).checkpointing(keep).train(&mut mixture(), &data)
    };
    let dir = tempfile::tempdir().unwrap();
    train(Checkpointing::new(dir.path())).unwrap();
    let e = train(Checkpointing::new(dir.path())).unwrap_err();
    assert!(matches!(&e, Error::RunExists { dir: at } if at == dir.path()), "{e}");
    // damaged, it is a run all the same
    std::fs::write(dir.path().join("checkpoint.safetensors"), b"not one").unwrap();
    let e = train(Checkpointing::new(dir.path())).unwrap_err();
    assert!(matches!(e, Error::RunExists { .. }), "{e}");
    // who only reads is told, and not given the walkers of another step
    let e = Run::open(dir.path()).unwrap_err();
    assert!(matches!(&e, Error::Data { file, .. } if file.ends_with("checkpoint.safetensors")), "{e}");
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(train(Checkpointing::new(file.join("run"))).unwrap_err().to_string().contains("file"));
    assert!(Run::open(dir.path().join("nothing")).unwrap_err().to_string().contains("run.json"));
    let e = train(Checkpointing::new(dir.path()).every_seconds(f64::NAN)).unwrap_err().to_string();
    assert!(e.contains("checkpointing.seconds = NaN"), "{e}");
}

#[test]
fn a_folder_that_vanishes_costs_no_rows_and_two_runs_do_not_share_one() {
    let data = points(50);
    let dir = tempfile::tempdir().unwrap();
    let trainer = || Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings(30));
    let keep = || Checkpointing::new(dir.path().join("run")).every_steps(1);
    let run = trainer()
        .checkpointing(keep())
        .train_with(&mut mixture(), &data, &mut |view| {
            if view.step == 10 {
                let e = trainer().checkpointing(keep()).train(&mut mixture(), &data).unwrap_err();
                assert!(matches!(e, Error::RunLocked { .. }), "{e}");
                assert_eq!(
                    Run::open(dir.path().join("run")).unwrap().outcome,
                    Outcome::Paused { step: 10, cause: "it is still running".into() }
                );
                std::fs::remove_dir_all(dir.path().join("run")).unwrap();
            }
            vec![]
        })
        .unwrap();
    // three attempts, then it stops rather than compute what nobody can keep
    assert!(
        matches!(&run.outcome, Outcome::Paused { step: 13, cause } if cause.contains("stats.csv")),
        "{:?}",
        run.outcome
    );
    assert_eq!(run.stats.height(), 13);
    let plain = trainer().train(&mut mixture(), &data).unwrap();
    let head = plain.stats.head(Some(13));
    assert_eq!(run.stats.column("log_z").unwrap(), head.column("log_z").unwrap());
}

/// A write that fails half-way must not leave half a line for the next one to go on after.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_for_a_moment_costs_nothing() {
    let data = points(50);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("stats.csv");
    let trainer = || Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings(30));
    let keep = Checkpointing::new(dir.path()).every_steps(1);
    let run = trainer().checkpointing(keep).train_with(&mut mixture(), &data, &mut |view| {
        if view.step == 10 {
            std::fs::remove_file(&log).unwrap();
            std::os::unix::fs::symlink("/dev/full", &log).unwrap();
        }
        vec![]
    });
    let run = run.unwrap();
    assert!(run.finished(), "{:?}", run.outcome);
    assert_same("full", &run, &trainer().train(&mut mixture(), &data).unwrap());
    assert_eq!(rows(&Run::open(dir.path()).unwrap()), rows(&run));
}

/// What comes after the checkpoint will come again, and whatever was left there is no reason to refuse.
#[test]
fn rows_after_the_checkpoint_may_be_cut_and_rows_before_it_may_not_change() {
    let data = points(50);
    let trainer = || Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings(20));
    let whole = trainer().train(&mut mixture(), &data).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (log, state) = (dir.path().join("stats.csv"), dir.path().join("checkpoint.safetensors"));
    let before = dir.path().join("checkpoint.previous.safetensors");
    trainer().checkpointing(Checkpointing::new(dir.path()).pause_after_steps(10)).train(&mut mixture(), &data).unwrap();
    let (rows, checkpoint) = (std::fs::read(&log).unwrap(), std::fs::read(&state).unwrap());
    // alone: no other checkpoint that counts fewer rows could be gone on from
    let resume = |log_now: &[u8]| {
        std::fs::write(&log, log_now).unwrap();
        std::fs::write(&state, &checkpoint).unwrap();
        let _ = std::fs::remove_file(&before);
        trainer().resume_or_start(dir.path()).train(&mut mixture(), &data)
    };
    let last = rows.split(|b| *b == b'\n').rfind(|line| !line.is_empty()).unwrap();
    for tail in [&b""[..], b"10,0.05,3.2", &last[..20], b"10,what is this\n", b"\0\0\xff\xfe\n\n", b"\n", b"\r\n"] {
        let run = resume(&[&rows, tail].concat()).unwrap();
        assert_same(&format!("{:?}", String::from_utf8_lossy(tail)), &run, &whole);
        assert_eq!(Run::open(dir.path()).unwrap().stats.height(), 21);
    }
    // a column that came after the checkpoint, with a name that needs quotes
    let text = String::from_utf8(rows.clone()).unwrap();
    let mut late: Vec<String> = text.lines().map(|line| line.to_string() + ",").collect();
    late[0] += "\"new, and late\"";
    assert_same("late column", &resume((late.join("\n") + "\n").as_bytes()).unwrap(), &whole);
    // one digit, anywhere before the checkpoint: still numbers, and in the name of a column still a name
    for line in 0..=10 {
        let start = text.match_indices('\n').nth(line).unwrap().0 - 3;
        let at = start - rows[..start].iter().rev().position(u8::is_ascii_alphanumeric).unwrap() - 1;
        let mut changed = rows.clone();
        changed[at] ^= 1;
        let e = resume(&changed).unwrap_err().to_string();
        assert!(e.contains("stats.csv: its first 10 rows: expected the rows that the checkpoint"), "{line}: {e}");
        assert!(e.contains("SHA-256") && e.contains("Put a copy of it back"), "{e}");
        assert_eq!(std::fs::read(&log).unwrap(), changed, "it is left for a person to look at");
    }
    let e = resume(&rows[..rows.len() - 1]).unwrap_err().to_string();
    assert!(e.contains("stats.csv: row 9: expected 10 rows"), "{e}");
    let e = resume(&[&rows[..30], b"\xff", &rows[31..]].concat()).unwrap_err().to_string();
    assert!(e.contains("stats.csv: byte 30: expected text in UTF-8"), "{e}");
    assert_same("put back", &resume(&rows).unwrap(), &whole);
}

#[test]
fn a_stop_file_pauses() {
    for steps in [None, Some(1)] {
        stopped(steps);
    }
}

fn stopped(steps: Option<usize>) {
    let data = points(50);
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { steps: 1_000_000, every: 1_000, monitor: Some(0), ..settings(0) };
    let trainer = Trainer::new(Ula::new(0.1), Method::Pcd)
        .settings(settings)
        .checkpointing(Checkpointing { steps, ..Checkpointing::new(dir.path()) });
    let path = dir.path().to_path_buf();
    let asker = std::thread::spawn(move || {
        while !path.join("run.json").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::write(path.join("stop"), b"").unwrap();
    });
    let run = trainer.train(&mut mixture(), &data).unwrap();
    asker.join().unwrap();
    assert!(matches!(&run.outcome, Outcome::Paused { cause, .. } if cause.contains("stop")), "{:?}", run.outcome);
    assert!(run.summary().contains("paused before step"));
}

// A process that is killed: this test's own program, told by a variable what to do.

const CHILD: &str = "JARZYNSKI_TEST_CHILD";

fn long(keep: Option<Checkpointing>) -> (Run, Mlp) {
    let data = points(80).to_kind(Kind::Float);
    let mut net =
        Mlp::new(2, &MlpShape { widths: vec![16, 16], sigma: 2.0, seed: 3 }, Kind::Float, Device::Cpu).unwrap();
    let all = Settings { optim: Optim::Adam, lr: 0.005, batch: Some(24), threads: 1, ..settings(6_000) };
    let mut trainer = Trainer::new(Ula::new(0.05), Method::Jarzynski { ess_min: 0.9 }).settings(all);
    trainer.checkpointing = keep;
    let run = trainer.train(&mut net, &data).unwrap();
    (run, net)
}

#[test]
fn child() {
    if let Ok(dir) = std::env::var(CHILD) {
        long(Some(Checkpointing::resume_or_start(dir).every_seconds(0.02)));
    }
}

/// The rows on disk, without the wall-clock column.
fn timeless(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let at = text.lines().next().unwrap().split(',').position(|n| n == "seconds").unwrap();
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != at).map(|(_, c)| c).collect::<Vec<_>>().join(",")
    };
    text.lines().map(cut).collect()
}

#[test]
fn a_run_killed_at_fifty_moments_leaves_the_bytes_of_one_that_was_not() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let started = Instant::now();
    let (run, net) = long(Some(Checkpointing::new(whole.path())));
    let alone = started.elapsed().as_secs_f64();
    assert!(run.finished());
    let program = std::env::current_exe().unwrap();
    let start = || {
        std::process::Command::new(&program)
            .args(["--exact", "resume::child", "--quiet"])
            .env(CHILD, killed.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut rng = Rng::new(0xdead);
    let (mut kills, mut idle) = (0, 0);
    while kills < 50 {
        let mut child = start();
        // anywhere from before its first checkpoint to some way into the run
        std::thread::sleep(Duration::from_secs_f64(0.02 + rng.uniform() * (0.3 + alone / 40.0)));
        match child.try_wait().unwrap() {
            None => kills += 1,
            // it was done already: only a kill counts
            Some(status) => {
                assert!(status.success());
                idle += 1;
                assert!(idle < 200, "{kills} kills only");
                std::fs::remove_dir_all(killed.path()).unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for entry in std::fs::read_dir(killed.path()).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                [".lock", "stats.csv", "run.json", "stats.parquet"].contains(&name.as_str())
                    || ["checkpoint.safetensors", "checkpoint.previous.safetensors"].contains(&name.as_str())
                    || name.starts_with(".partial-"),
                "{name}"
            );
        }
    }
    assert!(start().wait().unwrap().success());
    assert_eq!(timeless(&killed.path().join("stats.csv")), timeless(&whole.path().join("stats.csv")));
    let (run, again) = long(Some(Checkpointing::resume_or_start(killed.path())));
    assert_same_model("killed", &again, &net);
    assert_same("killed", &run, &long(None).0);
}
