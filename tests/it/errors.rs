//! Hold every kind of mistake to one variant and one line of text, in one table, and the screen to silence.

use jarzynski::model::{Gaussian, Mixture};
use jarzynski::polars::prelude::DataFrame;
use jarzynski::tch::{Kind, Tensor, nn};
use jarzynski::{
    Base, Checkpointing, Energy, Error, Method, Model, Outcome, Result, Rng, Run, RunInfo, Settings, Trainer, Ula,
};
use std::cell::Cell;
use std::error::Error as _;
use std::panic::catch_unwind;
use std::process::Command;

/// What a model of somebody else's does instead of computing an energy.
#[derive(Debug, Clone, Copy)]
enum Mistake {
    Panics,
    Misshapes,
    Unwraps,
}

/// A standard normal in 2-D whose energy goes wrong.
#[derive(Debug)]
struct Wrong {
    vs: nn::VarStore,
    mistake: Cell<Mistake>,
}

impl jarzynski::Differentiable for Wrong {}

impl Wrong {
    fn new(mistake: Mistake) -> Self {
        let mut vs = nn::VarStore::new(jarzynski::tch::Device::Cpu);
        let _ = vs.root().zeros("m", &[2]);
        vs.double();
        Wrong { vs, mistake: Cell::new(mistake) }
    }
}

impl Energy for Wrong {
    fn energy(&self, x: &Tensor) -> Tensor {
        match self.mistake.get() {
            Mistake::Panics => panic!("the model gave up\nand said so in two lines"),
            Mistake::Misshapes => (x + Tensor::from_slice(&[1.0, 2.0, 3.0])).square().sum(Kind::Double),
            Mistake::Unwraps => {
                let width: i64 = "two".parse().unwrap();
                x.narrow(1, 0, width).sum(Kind::Double)
            }
        }
    }
}

impl Model for Wrong {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(2, 1.0, Kind::Double, jarzynski::tch::Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        2
    }
}

fn mixture() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap()
}

fn points() -> Tensor {
    mixture().sample(20, &mut Rng::new(1))
}

fn trainer() -> Trainer<Ula> {
    let settings = Settings { walkers: 10, steps: 3, lr: 0.05, progress: 0.0, ..Default::default() };
    Trainer::new(Ula::new(0.1), Method::Pcd).settings(settings)
}

fn train(trainer: Trainer<Ula>, data: &Tensor) -> Result<Run> {
    trainer.train(&mut mixture(), data)
}

fn variant(e: &Error) -> &'static str {
    match e {
        Error::Param { .. } => "Param",
        Error::Shape { .. } => "Shape",
        Error::NonFinite { .. } => "NonFinite",
        Error::Data { .. } => "Data",
        Error::Io { .. } => "Io",
        Error::Torch { .. } => "Torch",
        Error::Table { .. } => "Table",
        Error::Panic { .. } => "Panic",
        Error::RunExists { .. } => "RunExists",
        Error::RunLocked { .. } => "RunLocked",
        Error::RunMismatch { .. } => "RunMismatch",
        _ => "another",
    }
}

/// Asks the test that holds the table to panic on the screen as well: what a screen that is not silent looks like.
const LOUD: &str = "JARZYNSKI_TEST_LOUD";

#[test]
fn every_kind_of_mistake_has_its_variant_and_its_line() {
    if std::env::var(LOUD).is_ok() {
        assert!(catch_unwind(|| panic!("outside of the library")).is_err());
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = |name: &str| folder.path().join(name);
    train(trainer().checkpointing(kept("run")), &points()).unwrap();
    std::fs::create_dir(kept("odd")).unwrap();
    std::fs::write(kept("odd/run.json"), "{\n").unwrap();
    let running = trainer().checkpointing(kept("busy")).start(mixture(), &points()).unwrap();
    let wrong = |mistake| trainer().train(&mut Wrong::new(mistake), &points()).map(drop);
    let no_column = || -> Result<()> { Ok(DataFrame::empty().column("energy").map(drop)?) };
    let missing = points();
    let _ = missing.narrow(0, 3, 1).fill_(f64::NAN);

    // `…` at the end: whatever follows
    let table: Vec<(Result<()>, &str, &str)> = vec![
        (train(trainer().walkers(0), &points()).map(drop), "Param", "walkers = 0: expected at least 1"),
        (
            Trainer { kernel: Ula::new(-1.0), ..trainer() }.train(&mut mixture(), &points()).map(drop),
            "Param",
            "h = -1: expected a positive, finite step size",
        ),
        (train(trainer(), &Tensor::from_slice(&[1.0, 2.0])).map(drop), "Shape", "data has shape [2]: expected …"),
        (train(trainer(), &missing).map(drop), "NonFinite", "data is not finite in row 3"),
        (
            RunInfo::read(kept("odd")).map(drop),
            "Data",
            "DIR/odd/run.json: line 2, column 0: expected the description of a run (EOF while parsing an object at line 2 column 0)",
        ),
        (Run::open(kept("none")).map(drop), "Io", "DIR/none/run.json: No such file …"),
        (
            wrong(Mistake::Misshapes),
            "Torch",
            "libtorch: The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 1…",
        ),
        (wrong(Mistake::Panics), "Panic", "a model or kernel panicked: the model gave up (tests/it/errors.rs:…"),
        (
            wrong(Mistake::Unwraps),
            "Panic",
            "a model or kernel panicked: called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit } (tests/it/errors.rs:…",
        ),
        (no_column(), "Table", "table: …"),
        (
            train(trainer().checkpointing(kept("run")), &points()).map(drop),
            "RunExists",
            "DIR/run holds a run: expected a folder without a run, or `resume_or_start` to go on with it",
        ),
        (
            train(trainer().checkpointing(kept("busy")), &points()).map(drop),
            "RunLocked",
            "DIR/busy is in use: expected a folder that no other run is writing to at this moment",
        ),
        (
            train(trainer().lr(0.1).resume_or_start(kept("run")), &points()).map(drop),
            "RunMismatch",
            "settings.lr = 0.1, was 0.05: expected the run that is kept in DIR/run",
        ),
        (
            train(trainer().checkpointing(Checkpointing::new(kept("new")).every_steps(0)), &points()).map(drop),
            "Param",
            "checkpointing.steps = 0: expected at least 1",
        ),
    ];
    drop(running);
    for (outcome, expected, text) in table {
        let e = outcome.expect_err(text);
        let said = e.to_string().replace(&folder.path().display().to_string(), "DIR");
        assert_eq!(variant(&e), expected, "{said}");
        match text.strip_suffix('…') {
            Some(start) => assert!(said.starts_with(start), "{said}\n{text}"),
            None => assert_eq!(said, text),
        }
        assert!(!said.contains('\n') && !e.advice().is_empty(), "{said}");
        // what came from below is there in full
        let from_below = ["Io", "Torch", "Table", "Panic"].contains(&expected);
        assert_eq!(e.source().is_some(), from_below, "{said}");
        if said.contains("gave up") {
            assert!(e.source().unwrap().to_string().contains("gave up\nand said so in two lines"));
        }
    }

    // a panic on the way ends the run, with the same line as its cause
    let run = trainer().train_with(&mut mixture(), &points(), &mut |view| {
        assert!(view.step < 2, "seen enough");
        vec![]
    });
    let run = run.unwrap();
    let Outcome::Diverged { step: 2, cause } = &run.outcome else { panic!("{:?}", run.outcome) };
    assert!(cause.starts_with("the callback panicked: seen enough (tests/it/errors.rs:"), "{cause}");
}

#[test]
fn nothing_of_a_mistake_reaches_the_screen_but_its_error() {
    let screen = |loud: bool| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "errors::every_kind_of_mistake_has_its_variant_and_its_line", "--nocapture"]);
        child.env("RUST_BACKTRACE", "1");
        if loud {
            child.env(LOUD, "1");
        }
        let out = child.output().unwrap();
        let (text, told) = (String::from_utf8_lossy(&out.stderr).into_owned(), String::from_utf8_lossy(&out.stdout));
        assert!(out.status.success() && told.contains("1 passed"), "{told}\n{text}");
        text
    };
    let silent = screen(false);
    assert!(!silent.contains("panicked at") && !silent.contains("stack backtrace"), "{silent}");
    assert!(screen(true).contains("panicked at"), "this test would notice");
}
