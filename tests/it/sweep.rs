//! Hold sweeps to the single runs they stand for, whatever the number of cores, failures and interruptions.

use jarzynski::io::frame::{column_f64, column_str};
use jarzynski::model::Mixture;
use jarzynski::sweep::{SweepSummary, grid};
use jarzynski::tch::Tensor;
use jarzynski::{Error, Method, Rng, Run, Sweep, Trainer, Ula};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};

fn data() -> Tensor {
    Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7]).unwrap().sample(60, &mut Rng::new(1))
}

fn model() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap()
}

fn trainer(h: f64, lr: f64) -> Trainer<Ula> {
    Trainer::new(Ula::new(h), Method::Jarzynski { ess_min: 0.9 }).walkers(50).steps(12).lr(lr)
}

fn bits(df: &jarzynski::polars::prelude::DataFrame) -> Vec<(String, Vec<String>)> {
    let names: Vec<String> = df.get_column_names().iter().map(|n| n.to_string()).collect();
    let kept = names.into_iter().filter(|n| !n.contains("seconds"));
    kept.map(|n| (n.clone(), column_str(df, &n).unwrap())).collect()
}

fn run(ensemble: Sweep) -> SweepSummary {
    let points = grid(&[("h", &[0.05, 0.1]), ("lr", &[0.02, 0.1])]);
    ensemble
        .quiet()
        .run(&points, &data(), |m, data| m.trainer(trainer(m.config["h"], m.config["lr"])).train(&mut model(), data))
        .unwrap()
}

#[test]
fn members_are_single_runs_on_any_number_of_cores() {
    let one = run(Sweep::new([3, 1]).cores(1));
    for cores in [2, 5] {
        let many = run(Sweep::new([3, 1]).cores(cores));
        assert_eq!(bits(&one.rows), bits(&many.rows));
        assert_eq!(bits(&one.members), bits(&many.members));
    }
    assert_eq!((one.members.height(), one.rows.height()), (8, 8 * 13));
    assert_eq!(column_f64(&one.members, "seed").unwrap(), [3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0]);
    assert_eq!(column_f64(&one.members, "lr").unwrap(), [0.02, 0.02, 0.1, 0.1, 0.02, 0.02, 0.1, 0.1]);
    let single = trainer(0.05, 0.1).seed(1).threads(1).quiet().train(&mut model(), &data()).unwrap();
    let rows = column_f64(&one.rows, "log_z").unwrap();
    assert_eq!(rows[3 * 13..4 * 13], single.column("log_z").unwrap());
    let bands = one.bands(&["ess"]).unwrap();
    assert_eq!(bands.height(), 4 * 13);
    assert!(column_f64(&bands, "ess_n").unwrap().iter().all(|n| *n == 2.0));
    assert_eq!(one.summary(), "8 of 8 members finished");
}

#[derive(Debug, Clone, Serialize)]
struct Config {
    kernel: &'static str,
    inner: Inner,
}

#[derive(Debug, Clone, Serialize)]
struct Inner {
    h: f64,
}

#[test]
fn a_member_that_fails_is_a_row_and_the_others_finish() {
    let all = ["fine", "refused", "panics", "diverges"].map(|kernel| {
        let h = if kernel == "diverges" { 60.0 } else { 0.1 };
        Config { kernel, inner: Inner { h } }
    });
    let cohort = Sweep::new([0]).quiet().run(&all, &data(), |m, data| {
        match m.config.kernel {
            "refused" => return Err(Error::param("h", "nothing", "something")),
            "panics" => panic!("at the disco"),
            _ => {}
        }
        let mut trainer = m.trainer(trainer(m.config.inner.h, 0.02));
        trainer.settings.steps = 200;
        trainer.settings.trust_region = Some(jarzynski::TrustRegion::Unlimited);
        trainer.train(&mut model(), data)
    });
    let cohort = cohort.unwrap();
    assert_eq!(column_str(&cohort.members, "status").unwrap(), ["finished", "failed", "failed", "diverged"]);
    let cause = column_str(&cohort.members, "cause").unwrap();
    assert!(cause[0].is_empty() && cause[1].contains("h = nothing") && cause[2].contains("at the disco"), "{cause:?}");
    assert!(cause[3].contains("not finite") && column_f64(&cohort.members, "ended_at").unwrap()[3] > 0.0);
    assert_eq!(cohort.keys, ["inner.h", "kernel"]);
    assert_eq!(cohort.failed().unwrap().height(), 3);
    assert!(cohort.summary().contains("1 of 4 members finished") && cohort.summary().contains("kernel panics"));
    let dir = tempfile::tempdir().unwrap();
    cohort.save(dir.path()).unwrap();
    assert!(dir.path().join("members.csv").exists() && dir.path().join("rows.parquet").exists());
}

#[test]
fn what_is_finished_is_not_trained_again() {
    let dir = tempfile::tempdir().unwrap();
    let rows = AtomicUsize::new(0);
    let go = |seeds: std::ops::Range<u64>, fail: bool| {
        let member = |m: &jarzynski::sweep::Member<_>, data: &Tensor| -> jarzynski::Result<Run> {
            if fail && m.seed == 1 {
                return Err(Error::param("disk", "full", "room"));
            }
            let config: &std::collections::BTreeMap<String, f64> = m.config;
            m.trainer(trainer(0.1, config["lr"])).train_with(&mut model(), data, &mut |_| {
                rows.fetch_add(1, Ordering::SeqCst);
                vec![]
            })
        };
        Sweep::new(seeds).checkpointing(dir.path()).quiet().run(&grid(&[("lr", &[0.02])]), &data(), member).unwrap()
    };
    let first = go(0..3, true);
    assert_eq!((rows.swap(0, Ordering::SeqCst), first.reused), (2 * 13, 0));
    // only the one that failed, and the one that is new; of the others the last row is measured again
    let second = go(0..4, false);
    assert_eq!((rows.swap(0, Ordering::SeqCst), second.reused), (2 * 13 + 2, 2));
    let third = go(0..4, false);
    assert_eq!((rows.load(Ordering::SeqCst), third.reused), (4, 4));
    assert_eq!(bits(&second.rows), bits(&third.rows));
    let elsewhere = Sweep::new(0..4).quiet().run(&grid(&[("lr", &[0.02])]), &data(), |m, data| {
        m.trainer(trainer(0.1, m.config["lr"])).train(&mut model(), data)
    });
    assert_eq!(bits(&elsewhere.unwrap().rows), bits(&third.rows));
}

/// A sweep of two seeds kept in `dir`, with what may have changed since an earlier call.
fn kept(
    dir: &std::path::Path,
    threads: usize,
    data: &Tensor,
    trainer: &Trainer<Ula>,
    sigma: f64,
) -> jarzynski::Result<SweepSummary> {
    use jarzynski::tch::{Device, Kind};
    let sweep = Sweep::new(0..2).threads(threads).checkpointing(dir).quiet();
    sweep.run(&[()], data, |m, data| {
        let means = [vec![-1.0, 0.0], vec![1.0, 0.5]];
        let mut model = Mixture::with_sigma(&means, &[0.5, 0.5], &[sigma; 2], Kind::Double, Device::Cpu)?;
        m.trainer(trainer.clone()).train(&mut model, data)
    })
}

#[test]
fn what_is_kept_of_another_sweep_is_refused_and_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (x, t) = (data(), trainer(0.1, 0.02));
    assert_eq!(kept(dir, 1, &x, &t, 1.0).unwrap().reused, 0);
    assert_eq!(kept(dir, 1, &x, &t, 1.0).unwrap().reused, 2);
    let refused = |result: jarzynski::Result<SweepSummary>, words: &[&str]| {
        let text = result.unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{words:?}: {text}");
    };
    refused(kept(dir, 1, &(&x * 2.0), &t, 1.0), &["data = [60, 2]", "expected [60, 2]", "-seed-0"]);
    refused(kept(dir, 1, &x.narrow(0, 0, 30), &t, 1.0), &["data = [30, 2]", "expected [60, 2]"]);
    refused(kept(dir, 2, &x, &t, 1.0), &["threads = 2", "expected 1"]);
    refused(kept(dir, 1, &x, &t.clone().lr(0.03), 1.0), &["settings.lr", "0.03", "0.02"]);
    refused(kept(dir, 1, &x, &trainer(0.2, 0.02), 1.0), &["kernel", "0.2", "0.1"]);
    refused(kept(dir, 1, &x, &t, 2.0), &["model.sigma", "2.0", "1.0"]);
    refused(kept(dir, 1, &x, &t.clone().steps(5), 1.0), &["steps = 5", "at least the 12"]);
    // more updates are made in addition
    let more = kept(dir, 1, &x, &t.clone().steps(20), 1.0).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let direct = kept(fresh.path(), 1, &x, &t.clone().steps(20), 1.0).unwrap();
    assert_eq!((more.reused, more.rows.height()), (0, 2 * 21));
    assert_eq!(bits(&more.rows), bits(&direct.rows));
    assert_eq!(kept(dir, 1, &x, &t.steps(20), 1.0).unwrap().reused, 2);
}

#[test]
fn nothing_to_run_is_named() {
    let none: [f64; 0] = [];
    let train = |_: &jarzynski::sweep::Member<f64>, data: &Tensor| trainer(0.1, 0.1).train(&mut model(), data);
    let e = Sweep::new([]).run(&[1.0], &data(), train).unwrap_err().to_string();
    assert!(e.contains("seeds = 0"), "{e}");
    let e = Sweep::new([1]).run(&none, &data(), train).unwrap_err().to_string();
    assert!(e.contains("grid = 0"), "{e}");
    let e = Sweep::new([1]).cores(0).run(&[1.0], &data(), train).unwrap_err().to_string();
    assert!(e.contains("cores = 0"), "{e}");
    assert!(grid(&[]).len() == 1 && grid(&[("a", &[])]).is_empty());
}

#[test]
fn sweeps_that_share_a_folder_compute_each_member_once() {
    use std::time::Duration;
    let dir = tempfile::tempdir().unwrap();
    let starts = AtomicUsize::new(0);
    let stale = Duration::from_secs(60);
    let points = grid(&[("lr", &[0.02, 0.1])]);
    let call = || {
        let member = |m: &jarzynski::sweep::Member<std::collections::BTreeMap<String, f64>>, data: &Tensor| {
            let mut seen = false;
            m.trainer(trainer(0.1, m.config["lr"])).train_with(&mut model(), data, &mut |at| {
                // the first row of a run that was not there before
                starts.fetch_add(usize::from(at.step == 0 && !std::mem::replace(&mut seen, true)), Ordering::SeqCst);
                vec![]
            })
        };
        let sweep = Sweep::new(0..3).cores(1).checkpointing(dir.path()).shared(stale).quiet();
        sweep.run(&points, &data(), member).unwrap()
    };
    let both: Vec<SweepSummary> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(starts.load(Ordering::SeqCst), 6);
    for summary in &both {
        let status = column_str(&summary.members, "status").unwrap();
        assert!(status.iter().all(|s| s == "finished" || s == "elsewhere"), "{status:?}");
    }
    let whole = call();
    assert_eq!((starts.load(Ordering::SeqCst), whole.reused), (6, 6));
    let alone = Sweep::new(0..3)
        .quiet()
        .run(&points, &data(), |m, data| m.trainer(trainer(0.1, m.config["lr"])).train(&mut model(), data));
    assert_eq!(bits(&alone.unwrap().rows), bits(&whole.rows));
    // a member that another process holds
    let held = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let claim = jarzynski::sweep::Claim::take(&held, stale).unwrap().unwrap();
    let summary = call();
    assert_eq!(summary.failed().unwrap().height(), 1);
    assert!(summary.summary().contains("elsewhere: another process has it"), "{}", summary.summary());
    drop(claim);
    assert_eq!(call().failed().unwrap().height(), 0);
    let e = Sweep::new([1]).shared(stale).run(&[1.0], &data(), |_, data| trainer(0.1, 0.1).train(&mut model(), data));
    assert!(e.unwrap_err().to_string().contains("checkpointing"));
}
