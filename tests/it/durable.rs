//! Damage the files of a checkpointed run in every way and hold its continuation to the bits of a run that nobody touched.

use crate::resume::{assert_same, rows};
use jarzynski::kernel::{Escorted, FlowKernel, Gibbs, Kernel, Mala, Reversed, identify};
use jarzynski::model::{Bridge, FlowNet, FlowShape, Interpolant, Mixture};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{
    At, Checkpointing, Energy, Error, FlowTrainer, Method, Optim, Outcome, Result, Rng, Run, RunInfo, Settings,
    Trainer, TrustRegion, Ula,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const NEWEST: &str = "checkpoint.safetensors";
const BEFORE: &str = "checkpoint.previous.safetensors";
const ROWS: &str = "stats.csv";
const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.9 };

fn mixture() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap()
}

fn points(n: usize) -> Tensor {
    Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7]).unwrap().sample(n, &mut Rng::new(1))
}

fn settings(steps: usize) -> Settings {
    Settings { walkers: 20, steps, lr: 0.05, seed: 3, progress: 0.0, ..Default::default() }
}

fn trainer() -> Trainer<Ula> {
    Trainer::new(Ula::new(0.1), JARZYNSKI).settings(settings(12))
}

fn train(keep: Checkpointing) -> Result<Run> {
    trainer().checkpointing(keep).train(&mut mixture(), &points(30))
}

/// In memory, where there is such a place: thousands of checkpoints are written here.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The files of a run that paused at step 8, with the checkpoint of step 4 before that one.
struct Kept {
    dir: tempfile::TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
    whole: Run,
}

impl Kept {
    fn new() -> Self {
        let dir = folder();
        train(Checkpointing::new(dir.path()).every_steps(4).pause_after_steps(8)).unwrap();
        let files = [NEWEST, BEFORE, ROWS, "run.json"];
        let files = files.map(|name| (name, std::fs::read(dir.path().join(name)).unwrap())).to_vec();
        Kept { dir, files, whole: trainer().train(&mut mixture(), &points(30)).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn content(&self, name: &str) -> &[u8] {
        &self.files.iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// Goes on, with some of the files replaced (by nothing: removed).
    fn resume(&self, damaged: &[(&str, Option<&[u8]>)]) -> Result<Run> {
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, content) in &self.files {
            let content = damaged.iter().find(|(n, _)| n == name).map_or(Some(content.as_slice()), |(_, c)| *c);
            content.iter().for_each(|content| std::fs::write(self.path(name), content).unwrap());
        }
        train(Checkpointing::resume_or_start(self.dir.path()).every_steps(4))
    }

    /// Whether the run went on from the checkpoint before the newest; its end is that of the whole run in any case.
    fn went_back(&self, what: &str, damaged: &[(&str, Option<&[u8]>)]) -> bool {
        let run = self.resume(damaged).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(run.finished(), "{what}: {:?}", run.outcome);
        assert_same(what, &run, &self.whole);
        assert_eq!(rows(&Run::open(self.dir.path()).unwrap()), rows(&self.whole), "{what}");
        let notes = RunInfo::read(self.dir.path()).unwrap().notes;
        assert!(notes.len() <= 1, "{notes:?}");
        let back = notes.iter().all(|n| n.contains("goes on from the checkpoint before that one, at step 4"));
        assert!(back, "{what}: {notes:?}");
        notes.len() == 1
    }
}

/// Shorter ones, ones with a byte flipped, with zeros, with another tail.
fn damages(content: &[u8], step: usize) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let head = 0..content.len().min(64);
    let places: Vec<usize> = head.chain((64..content.len()).step_by(step)).collect();
    for &at in &places {
        all.push((format!("{at} bytes"), content[..at].to_vec()));
        let mut flipped = content.to_vec();
        flipped[at] ^= 1 << (at % 8);
        all.push((format!("bit {} of byte {at}", at % 8), flipped));
    }
    for at in places.into_iter().step_by(7) {
        let mut blank = content.to_vec();
        let end = blank.len().min(at + 512);
        blank[at..end].fill(0);
        all.push((format!("zeros from byte {at}"), blank));
    }
    all.push(("a tail".into(), [content, b"tail"].concat()));
    all.push(("twice".into(), [content, content].concat()));
    all
}

#[test]
fn a_run_goes_on_from_the_checkpoint_before_a_damaged_one() {
    let kept = Kept::new();
    assert!(!kept.went_back("whole", &[]));
    let (mut back, mut harmless) = (0, vec![]);
    for (what, damaged) in damages(kept.content(NEWEST), 41) {
        if damaged == kept.content(NEWEST) {
            continue;
        }
        match kept.went_back(&what, &[(NEWEST, Some(&damaged))]) {
            true => {
                back += 1;
                let aside = std::fs::read(kept.path("checkpoint.damaged.safetensors")).unwrap();
                assert_eq!(aside, damaged, "{what}");
            }
            false => harmless.push(what),
        }
    }
    println!("{back} went back, harmless: {harmless:?}");
    assert!(back > 200 && harmless.len() * 50 < back, "{back}, {harmless:?}");
    assert!(kept.went_back("missing", &[(NEWEST, None)]));
    // after that both are whole again, and the next continuation has nothing to say but what was said
    for _ in 0..2 {
        let again = train(Checkpointing::resume_or_start(kept.dir.path())).unwrap();
        assert_same("again", &again, &kept.whole);
        assert_eq!(RunInfo::read(kept.dir.path()).unwrap().notes.len(), 1);
    }
    // the one before is not read where the newest is whole
    for damaged in [None, Some(&b""[..]), Some(&kept.content(BEFORE)[..90])] {
        assert!(!kept.went_back("the one before", &[(BEFORE, damaged)]));
    }
}

#[test]
fn rows_that_are_damaged_are_computed_again_from_the_checkpoint_that_counts_fewer() {
    let kept = Kept::new();
    let content = kept.content(ROWS);
    let ends: Vec<usize> = (0..content.len()).filter(|i| content[*i] == b'\n').collect();
    assert_eq!(ends.len(), 9, "a header and the rows of steps 0 to 7");
    // the header and four rows
    let counted = ends[4] + 1;
    let (mut back, mut refused, mut harmless) = (0, 0, vec![]);
    for (what, damaged) in damages(content, 13) {
        if damaged == content {
            continue;
        }
        let early = damaged.len() < counted || damaged[..counted] != content[..counted];
        match kept.resume(&[(ROWS, Some(&damaged))]) {
            Err(e) => {
                assert!(early, "{what}: {e}");
                let Error::Data { file, place, expected } = &e else { panic!("{what}: {e:?}") };
                assert!(Path::new(file) == kept.dir.path() && place == "both checkpoints", "{e}");
                assert!(expected.contains(NEWEST) && expected.contains(BEFORE) && expected.contains(ROWS), "{e}");
                assert_eq!(std::fs::read(kept.path(ROWS)).unwrap(), damaged, "it is left for a person to look at");
                refused += 1;
            }
            // digits that read back to the same number, or what stands after the rows that are counted
            Ok(_) if !kept.went_back(&what, &[(ROWS, Some(&damaged))]) => harmless.push(what),
            Ok(_) => {
                assert!(!early, "{what}: went on after rows that differ");
                back += 1;
            }
        }
    }
    println!("{back} went back, {refused} refused, harmless: {harmless:?}");
    assert!(back > 20 && refused > 60 && harmless.len() * 10 < back + refused, "{back} {refused} {harmless:?}");
    assert!(harmless.contains(&"a tail".to_string()));
}

#[test]
fn two_damaged_checkpoints_are_both_named() {
    let kept = Kept::new();
    let cut = |name| &kept.content(name)[..300];
    let flipped = |name| {
        let mut bytes = kept.content(name).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let (newest, before) = (flipped(NEWEST), flipped(BEFORE));
    for damaged in [
        [(NEWEST, Some(cut(NEWEST))), (BEFORE, Some(cut(BEFORE)))],
        [(NEWEST, Some(&newest[..])), (BEFORE, Some(&before[..]))],
        [(NEWEST, Some(&[])), (BEFORE, Some(cut(BEFORE)))],
    ] {
        let e = kept.resume(&damaged).unwrap_err();
        let Error::Data { file, place, expected } = &e else { panic!("{e:?}") };
        assert!(Path::new(file) == kept.dir.path() && place == "both checkpoints", "{e}");
        for name in [NEWEST, BEFORE] {
            assert!(expected.contains(kept.path(name).to_str().unwrap()), "{e}");
            assert!(kept.path(name).exists(), "{name} is left for a person to look at");
        }
        assert!(!e.to_string().contains('\n'));
    }
    // with none before, the error is that of the newest; with neither there is no run to go on with
    let e = kept.resume(&[(NEWEST, Some(cut(NEWEST))), (BEFORE, None)]).unwrap_err();
    assert!(matches!(&e, Error::Data { file, .. } if Path::new(file) == kept.path(NEWEST)), "{e}");
    let e = kept.resume(&[(NEWEST, None), (BEFORE, Some(cut(BEFORE)))]).unwrap_err();
    assert!(matches!(&e, Error::Data { file, .. } if Path::new(file) == kept.path(BEFORE)), "{e}");
    let run = kept.resume(&[(NEWEST, None), (BEFORE, None)]).unwrap();
    assert_same("anew", &run, &kept.whole);
}

// -------------------------------------------------------------------------------- a checkpoint holds no NaN parameters

/// Whether all parameters of a checkpoint are finite.
fn finite(path: &Path) -> bool {
    let tensors = Tensor::read_safetensors(path).unwrap();
    let mut parameters = tensors.iter().filter(|(name, _)| name.starts_with("model.")).peekable();
    assert!(parameters.peek().is_some(), "no parameters in {}", path.display());
    parameters.all(|(_, t)| t.isfinite().all().int64_value(&[]) == 1)
}

/// Holds a run whose parameters blow up, with a checkpoint at every step, to checkpoints without NaN. Returns why it ended.
fn assert_finite(what: &str, dir: &Path, run: &Run, again: impl Fn() -> Run) -> Option<(usize, String)> {
    let end = match &run.outcome {
        Outcome::Diverged { step, cause } => Some((*step, cause.clone())),
        Outcome::Finished => None,
        paused => panic!("{what}: {paused:?}"),
    };
    for name in [NEWEST, BEFORE] {
        let path = dir.join(name);
        // lost at once, there is none before
        let none = name == BEFORE && !path.exists() && end.as_ref().is_some_and(|(step, _)| *step <= 1);
        assert!(none || finite(&path), "{what}: {name}");
    }
    // it goes on from there to the same end
    let resumed = again();
    assert_eq!((&resumed.outcome, rows(&resumed)), (&run.outcome, rows(run)), "{what}");
    assert!(finite(&dir.join(NEWEST)), "{what}, resumed");
    end
}

/// Whether the checkpoint of lost parameters was refused by one of the runs.
fn refused(ends: &[Option<(usize, String)>]) -> bool {
    ends.iter().flatten().any(|(_, cause)| cause.starts_with("parameter of the model is not finite"))
}

#[test]
fn a_checkpoint_never_holds_parameters_that_are_not_finite() {
    // so far out that gradients are above 1, and the largest rate overflows
    let data = points(30) * 10;
    let (sgd, adam) = (Optim::Sgd { momentum: 0.9 }, Optim::Adam);
    for method in [Method::Jarzynski { ess_min: 0.0 }, Method::Pcd, Method::Cd { k: 2 }] {
        let mut ends = vec![];
        for (lr, optim) in [(1e20, sgd), (1e160, sgd), (1e160, adam), (1e300, adam), (f64::MAX, sgd), (f64::MAX, adam)]
        {
            let settings = Settings { lr, optim, trust_region: Some(TrustRegion::Unlimited), ..settings(60) };
            let dir = folder();
            let go = |keep: Checkpointing| {
                let trainer = Trainer::new(Ula::new(0.1), method).settings(settings.clone());
                let watch = &mut |view: &jarzynski::StepView<Mixture>| {
                    assert!(finite(&dir.path().join(NEWEST)), "at step {}", view.step);
                    vec![]
                };
                trainer.checkpointing(keep.every_steps(1)).train_with(&mut mixture(), &data, watch).unwrap()
            };
            let run = go(Checkpointing::new(dir.path()));
            let again = || go(Checkpointing::resume_or_start(dir.path()));
            ends.push(assert_finite(&format!("{method:?}, {optim:?}, {lr}"), dir.path(), &run, again));
        }
        println!("{method:?}: {ends:?}");
        assert!(ends.iter().flatten().all(|(_, cause)| !cause.contains("panicked")), "{ends:?}");
        assert!(ends.iter().flatten().count() >= 4, "{ends:?}");
        // the other methods look at their walkers after the update, and end there
        assert!(refused(&ends) || !matches!(method, Method::Cd { .. }), "{ends:?}");
    }
    let data = points(60).to_kind(Kind::Float);
    let flow = || {
        FlowNet::from_noise(&Bridge::default(), &data, &FlowShape { widths: vec![16], ..Default::default() }).unwrap()
    };
    let mut ends = vec![];
    for (lr, every) in [(1e30, 1), (1e30, 7), (1e60, 1), (1e60, 7)] {
        let dir = folder();
        let go = |keep: Checkpointing| {
            let mut trainer = FlowTrainer::new().steps(30).batch(20).quiet();
            (trainer.settings.lr, trainer.settings.every) = (lr, every);
            trainer.checkpointing(keep.every_steps(1)).train(&mut flow(), &data).unwrap()
        };
        let run = go(Checkpointing::new(dir.path()));
        let again = || go(Checkpointing::resume_or_start(dir.path()));
        ends.push(assert_finite(&format!("flow, {lr}, {every}"), dir.path(), &run, again));
    }
    println!("flow: {ends:?}");
    assert!(ends.iter().all(Option::is_some) && refused(&ends), "{ends:?}");
}

// ------------------------------------------------------------------------------------------------- what a kernel is

/// A kernel of somebody else, which forwards to ULA and says what it is, or does not.
#[derive(Debug, Clone, serde::Serialize)]
struct Own {
    h: f64,
    #[serde(skip)]
    says: bool,
}

impl<E: Energy + jarzynski::Differentiable + ?Sized> Kernel<E> for Own {
    fn forward(&self, u: &E, at: &jarzynski::Evaluation, rng: &mut Rng) -> jarzynski::kernel::Move {
        Ula::new(self.h).forward(u, at, rng)
    }
    fn backward(
        &self,
        u: &E,
        at: &jarzynski::Evaluation,
        mv: jarzynski::kernel::Move,
        rng: &mut Rng,
    ) -> jarzynski::kernel::Arrival {
        Ula::new(self.h).backward(u, at, mv, rng)
    }
    fn identity(&self) -> Result<jarzynski::serde_json::Value> {
        if self.says { identify("Own", self) } else { Kernel::<E>::identity(&Silent) }
    }
}

/// Says nothing of itself.
#[derive(Debug, Clone)]
struct Silent;

impl<E: Energy + jarzynski::Differentiable + ?Sized> Kernel<E> for Silent {
    fn forward(&self, u: &E, at: &jarzynski::Evaluation, rng: &mut Rng) -> jarzynski::kernel::Move {
        Ula::new(0.1).forward(u, at, rng)
    }
    fn backward(
        &self,
        u: &E,
        at: &jarzynski::Evaluation,
        mv: jarzynski::kernel::Move,
        rng: &mut Rng,
    ) -> jarzynski::kernel::Arrival {
        Ula::new(0.1).backward(u, at, mv, rng)
    }
}

#[test]
fn a_kernel_that_does_not_say_what_it_is_runs_but_is_not_kept() {
    let data = points(30);
    let run = |kernel: Own| Trainer::new(kernel, JARZYNSKI).settings(settings(4));
    let silent = Trainer::new(Silent, JARZYNSKI).settings(settings(4));
    let plain = silent.train(&mut mixture(), &data).unwrap();
    assert!(plain.finished());
    assert_eq!(plain.config["kernel"], "Silent");
    let dir = folder();
    let e = silent.checkpointing(dir.path().join("new")).train(&mut mixture(), &data).unwrap_err();
    assert!(matches!(&e, Error::Param { name: "kernel", .. }) && e.to_string().contains("identify"), "{e}");
    assert!(!dir.path().join("new").exists(), "nothing is begun");
    let own = run(Own { h: 0.1, says: true }).checkpointing(dir.path()).train(&mut mixture(), &data).unwrap();
    assert_same("own", &own, &plain);
    assert_eq!(own.config["kernel"]["Own"]["h"], 0.1);
    // what is not written of a kernel is its own affair; what is, is held to
    let e = run(Own { h: 0.2, says: true }).resume_or_start(dir.path()).train(&mut mixture(), &data).unwrap_err();
    assert!(matches!(&e, Error::RunMismatch { key, .. } if key == "kernel.Own.h"), "{e}");
    let e = run(Own { h: 0.1, says: false }).resume_or_start(dir.path()).train(&mut mixture(), &data).unwrap_err();
    assert!(matches!(&e, Error::Param { name: "kernel", .. }), "{e}");
}

#[test]
fn kernels_of_the_library_say_all_of_their_settings() {
    fn of<E: Energy + ?Sized>(kernel: &dyn Kernel<E>) -> String {
        // through a reference, as a trainer holds it
        Kernel::<E>::identity(&kernel).unwrap().to_string()
    }
    let m = |kernel: &dyn Kernel<Mixture>| of(kernel);
    assert_eq!(m(&Ula::new(0.1)), r#"{"Ula":{"h":0.1,"reverse_at":"new"}}"#);
    assert_eq!(m(&Reversed::sweeps(Mala::new(0.3), 2)), r#"{"Reversed":{"kernel":{"Mala":{"h":0.3}},"sweeps":2}}"#);
    let gibbs = of::<jarzynski::model::Rbm>(&Gibbs::new());
    assert_eq!(gibbs, r#"{"Gibbs":{"reverse":"collapsed","sweeps":1}}"#);
    let along = |kernel: &dyn for<'a> Kernel<At<'a, Interpolant>>| of::<At<Interpolant>>(kernel);
    let flows: BTreeSet<String> = FlowKernel::NAMES
        .iter()
        .flat_map(|name| [0.5, 0.25].map(|eps| along(&FlowKernel::named(name, eps).unwrap())))
        .collect();
    // the two without noise ignore ε
    assert_eq!(flows.len(), 18, "{flows:?}");
    assert_eq!(along(&Escorted::midpoint(0.5)), r#"{"Escorted":{"eps":0.5,"integrator":"midpoint"}}"#);
}
