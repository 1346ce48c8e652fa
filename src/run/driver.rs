//! Drive any run: open or resume it, measure, record, checkpoint, stop at divergence, show progress, end it.

use super::procedure::{Callback, Health, Parts, Procedure, Row, StepView};
use super::{Checkpointing, Outcome, Progress, Recorder, Run, Store, Tally};
use crate::error::{Error, Result, guard, guard_of};
use crate::io::Checkpoint;
use crate::kernel::EvalCounts;
use crate::numeric::Threads;
use polars::prelude::DataFrame;
use std::borrow::Borrow;
use std::fmt;
use std::time::Instant;

/// A run in progress, owned by whoever takes its steps. `S` is the model that is trained or the path that walkers follow, held
/// as `H`: itself, or a reference to it.
///
/// ```
/// use jarzynski::{Method, Rng, Trainer, Ula, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7])?.sample(200, &mut Rng::new(1));
/// let trainer = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 }).walkers(200).steps(30).quiet();
/// let mut run = trainer.start(Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5])?, &data)?;
/// run.advance(10)?;                                     // ten updates, then show the rows
/// println!("{}", run.stats()?);
/// while let Some(step) = run.step()? {                  // the rest one by one
///     assert!(step.walkers.ess() > 0.1 && step.step > 10);
/// }
/// let (run, model) = run.finish()?;
/// assert!(run.finished());
/// println!("{}\nmasses {}", run.summary(), model.masses());
/// # Ok(()) }
/// ```
pub struct Driver<'a, S, H: Borrow<S> = S> {
    subject: H,
    procedure: Box<dyn Procedure<S> + 'a>,
    store: Option<Store>,
    recorder: Recorder,
    tally: Tally,
    progress: Progress,
    started: Instant,
    /// The state k that the run is in, and whether it has been measured.
    at: usize,
    measured: bool,
    /// The row of this state, empty where none was due.
    row: Row,
    /// Evaluations up to the previous row.
    before: EvalCounts,
    outcome: Option<Outcome>,
}

impl<'a, S, H: Borrow<S>> Driver<'a, S, H> {
    /// Begins the run, or continues the one that `checkpointing` finds.
    ///
    /// # Errors
    /// What the procedure cannot run; a run that cannot fit into memory; a folder that cannot be used, or that holds another run or one that has done more steps.
    pub fn open(
        mut procedure: Box<dyn Procedure<S> + 'a>,
        subject: H,
        checkpointing: Option<&Checkpointing>,
    ) -> Result<Self> {
        let pace = procedure.schedule();
        let _threads = Threads::request(pace.threads);
        let (mut tally, mut recorder, mut at, mut before) =
            (Tally::default(), Recorder::default(), 0, Default::default());
        let mut opened = None;
        if let Some((memory, device)) = procedure.memory(subject.borrow()) {
            memory.check(device)?;
        }
        if let Some(checkpointing) = checkpointing {
            let identity = guard(|| procedure.identity(subject.borrow()))?;
            let label = (procedure.name(), procedure.weighted());
            opened = Some(Store::open(checkpointing, label, pace.seed, identity)?);
        }
        let store = match opened {
            Some((mut store, Some(found))) => {
                let checkpoint = &found.checkpoint;
                at = checkpoint.json("step")?;
                let steps = procedure.steps();
                if at > steps {
                    return Err(Error::param("steps", steps, format!("at least the {at} that the kept run has done")));
                }
                before = checkpoint.json("before")?;
                guard(|| procedure.load(subject.borrow(), at, checkpoint))?;
                tally = Tally::load(checkpoint, procedure.schedule().device)?;
                recorder = store.take_up(found)?;
                Some(store)
            }
            opened => {
                guard(|| procedure.begin(subject.borrow(), &mut tally))?;
                opened.map(|(store, _)| store)
            }
        };
        let progress = Progress::new(procedure.name(), pace.progress, at, procedure.steps()).counting(procedure.unit());
        Ok(Driver {
            subject,
            procedure,
            store,
            recorder,
            tally,
            progress,
            started: Instant::now(),
            at,
            measured: false,
            row: Row::default(),
            before,
            outcome: None,
        })
    }

    /// Takes the next step and shows the state that it led to; the first call shows the start. `None` once the run has ended:
    /// all steps are done, it diverged, or it was paused.
    ///
    /// # Errors
    /// The first checkpoint cannot be written.
    pub fn step(&mut self) -> Result<Option<StepView<'_, S>>> {
        self.step_with(&mut |_| Vec::new())
    }

    /// As [`step`](Driver::step); `callback` adds columns of its own to a recorded row. If it panics the run ends there, with
    /// the rows before and the cause.
    ///
    /// # Errors
    /// As [`step`](Driver::step).
    pub fn step_with(&mut self, callback: &mut Callback<S>) -> Result<Option<StepView<'_, S>>> {
        if self.outcome.is_none() {
            let _threads = Threads::request(self.procedure.schedule().threads);
            self.outcome = self.go_on(callback)?;
        }
        Ok(self.outcome.is_none().then(|| self.view()))
    }

    /// Takes `steps` steps, or as many as are left. Returns the state reached.
    ///
    /// # Errors
    /// As [`step`](Driver::step).
    pub fn advance(&mut self, steps: usize) -> Result<usize> {
        self.advance_with(steps, &mut |_| Vec::new())
    }

    /// As [`advance`](Driver::advance), with a callback at every recorded row.
    ///
    /// # Errors
    /// As [`step`](Driver::step).
    pub fn advance_with(&mut self, steps: usize, callback: &mut Callback<S>) -> Result<usize> {
        let target = self.at.saturating_add(steps);
        while !(self.measured && self.at >= target) && self.step_with(callback)?.is_some() {}
        Ok(self.at)
    }

    /// The model or the path.
    pub fn model(&self) -> &S {
        self.subject.borrow()
    }

    /// The rows so far.
    ///
    /// # Errors
    /// None for rows that a frame can hold.
    pub fn stats(&self) -> Result<DataFrame> {
        self.recorder.stats()
    }

    /// What the run is called.
    pub fn name(&self) -> &'static str {
        self.procedure.name()
    }

    /// The state k that the run is in.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How the run ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The present state, as [`step`](Driver::step) shows it.
    pub fn view(&self) -> StepView<'_, S> {
        let mut cost = self.before;
        cost += self.tally.cost;
        StepView {
            step: self.at,
            t: self.procedure.time(self.at),
            model: self.subject.borrow(),
            walkers: self.procedure.walkers(),
            monitor: self.procedure.monitor(),
            row: &self.row,
            cost,
        }
    }

    /// Step, visit, measure, record: the loop of every run. Returns how it ended, if it did.
    fn go_on(&mut self, callback: &mut Callback<S>) -> Result<Option<Outcome>> {
        let steps = self.procedure.steps();
        if self.measured {
            if self.at == steps {
                return Ok(Some(Outcome::Finished));
            }
            let (subject, k) = (self.subject.borrow(), self.at);
            if let Some(cause) = lost(guard(|| self.procedure.step(subject, k, &mut self.tally))) {
                return Ok(Some(Outcome::Diverged { step: k, cause }));
            }
            self.at += 1;
            self.measured = false;
            self.row = Row::default();
        }
        if let Some(outcome) = self.visit()? {
            return Ok(Some(outcome));
        }
        let (k, last) = (self.at, self.at == steps);
        let health = guard(|| self.procedure.measure(self.subject.borrow(), k, last, &mut self.tally));
        self.measured = true;
        let shown = matches!(health, Ok(Health::LostWithRow(_)));
        let mut cause = lost(health);
        let due = k.is_multiple_of(self.procedure.schedule().every) || last;
        if shown || (cause.is_none() && due) {
            cause = cause.or(guard(|| self.record(callback)).err().map(|e| e.to_string()));
        }
        let (procedure, recorder) = (&self.procedure, &self.recorder);
        self.progress.at(k, || procedure.details(k, recorder));
        Ok(cause.map(|cause| Outcome::Diverged { step: k, cause }))
    }

    fn record(&mut self, callback: &mut Callback<S>) -> Result<()> {
        let spent = self.tally.take();
        self.before += spent.cost;
        let mut row = Row::default();
        row.put("step", self.at as f64);
        self.procedure.row(self.subject.borrow(), self.at, &spent, &mut row)?;
        row.put("seconds", self.seconds());
        self.row = row;
        let own = guard_of("the callback", || Ok(callback(&self.view())))?;
        self.row.extend(own);
        self.recorder.push(self.row.iter());
        Ok(())
    }

    /// Rows and a checkpoint to disk where they are due; how the run ends, if it should.
    fn visit(&mut self) -> Result<Option<Outcome>> {
        let Some(mut store) = self.store.take() else { return Ok(None) };
        let said = store.visit(self.at, self.procedure.steps(), &self.recorder, |to| self.save(to));
        self.store = Some(store);
        match said {
            Err(e @ Error::NonFinite { .. }) => Ok(Some(Outcome::Diverged { step: self.at, cause: e.to_string() })),
            said => said,
        }
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.procedure.save(self.subject.borrow(), to)?;
        to.put_json("before", &self.before)?;
        self.tally.save(to)
    }

    /// Seconds of this call and of those that it continues.
    fn seconds(&self) -> f64 {
        self.store.as_ref().map_or_else(|| self.started.elapsed().as_secs_f64(), Store::seconds)
    }

    /// Ends the run where it is: what it leaves, and what it ran on.
    pub(crate) fn end(mut self) -> Result<(Run, H)> {
        let (steps, pace, seconds) = (self.procedure.steps(), self.procedure.schedule(), self.seconds());
        let mut outcome = match self.outcome.take() {
            Some(outcome) => outcome,
            None if self.measured && self.at == steps => Outcome::Finished,
            None => {
                let cause = format!("{} of {steps} {} were asked for", self.at, self.procedure.unit());
                Outcome::Paused { step: self.at, cause }
            }
        };
        if let Some(store) = self.store.take() {
            outcome = store.close(steps, &self.recorder, outcome);
        }
        let words = match &outcome {
            Outcome::Diverged { step, cause } | Outcome::Paused { step, cause } if self.progress.has_spoken() => {
                Some(format!("stopped at step {step}: {cause}"))
            }
            _ => None,
        };
        self.progress.end(words.as_deref());
        let (label, weighted, config) = (self.procedure.name(), self.procedure.weighted(), self.procedure.config());
        let self_interacting = self.procedure.self_interacting();
        let _threads = Threads::request(pace.threads);
        let subject = self.subject.borrow();
        let procedure = self.procedure;
        let Parts { walkers, monitor } = guard(|| procedure.finish(subject, &outcome))?;
        let run = Run {
            stats: self.recorder.stats()?,
            walkers,
            monitor,
            weighted,
            self_interacting,
            label: label.into(),
            config,
            seed: pace.seed,
            outcome,
            seconds,
        };
        Ok((run, self.subject))
    }

    /// All steps that are left, and the end.
    pub(crate) fn complete(mut self, callback: &mut Callback<S>) -> Result<Run> {
        while self.step_with(callback)?.is_some() {}
        Ok(self.end()?.0)
    }
}

impl<'a, S> Driver<'a, S, S> {
    /// Ends the run where it is and gives back the run and the model (or path). A run that has steps left is
    /// [`Outcome::Paused`]; where it is checkpointed it can be continued from its last checkpoint.
    ///
    /// # Errors
    /// Walkers that cannot be evaluated after a run that finished.
    pub fn finish(self) -> Result<(Run, S)> {
        self.end()
    }
}

impl<S, H: Borrow<S>> fmt::Debug for Driver<'_, S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at step {} of {}", self.procedure.name(), self.at, self.procedure.steps())
    }
}

/// Why a run cannot continue, if it cannot.
fn lost(health: Result<Health>) -> Option<String> {
    match health {
        Ok(Health::Fine) => None,
        Ok(Health::Lost(cause) | Health::LostWithRow(cause)) => Some(cause),
        Err(e) => Some(e.to_string()),
    }
}
