//! Check that a run taken step by step is the run: the same bits, views of every state, an end wherever the caller wants it.

use jarzynski::kernel::{Mala, Reversed};
use jarzynski::model::{Bridge, FlowNet, FlowShape, Interpolant, Mixture};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Checkpointing, Escorted, FlowTrainer, Method, Model, Outcome, Rng, Run, Trainer, Transport, Ula};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

fn data() -> Tensor {
    Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7]).unwrap().sample(200, &mut Rng::new(1))
}

fn model() -> Mixture {
    Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap()
}

fn trainer(method: Method) -> Trainer<Ula> {
    Trainer::new(Ula::new(0.1), method).walkers(100).steps(30).batch(50).lr(0.05).quiet()
}

/// All columns but the wall clock, by bits.
fn bits(run: &Run) -> Vec<(String, Vec<u64>)> {
    let names = run.stats.get_column_names();
    let kept = names.iter().filter(|n| **n != "seconds" && **n != "warning");
    kept.map(|n| (n.to_string(), run.column(n).unwrap().iter().map(|v| v.to_bits()).collect())).collect()
}

#[test]
fn steps_and_training_in_one_call_are_the_same_bits() {
    for method in [JARZYNSKI, Method::Pcd, Method::Cd { k: 2 }] {
        let mut whole = model();
        let expected = trainer(method).train(&mut whole, &data()).unwrap();
        let mut run = trainer(method).start(model(), &data()).unwrap();
        assert_eq!(run.advance(10).unwrap(), 10);
        assert_eq!(run.stats().unwrap().height(), 11);
        let mut seen = vec![run.view().step];
        while let Some(step) = run.step().unwrap() {
            assert_eq!(step.row.get("step"), Some(step.step as f64));
            assert!(step.walkers.len() == 100 && step.monitor.is_some() == (method == JARZYNSKI) && step.t.is_nan());
            seen.push(step.step);
        }
        assert_eq!(seen, (10..=30).collect::<Vec<_>>());
        let (run, trained) = run.finish().unwrap();
        assert!(run.finished() && bits(&run) == bits(&expected), "{method:?}");
        assert!(trained.means().equal(&whole.means()));
        assert!(run.walkers.x().equal(expected.walkers.x()));
    }
}

#[test]
fn a_view_shows_the_state_that_its_row_describes() {
    let mut run = trainer(JARZYNSKI).start(model(), &data()).unwrap();
    let mut forward = 0;
    while let Some(step) = run.step().unwrap() {
        let u = step.walkers.evaluation().u.dot(&step.walkers.weights()).double_value(&[]);
        let told = step.row.get("energy_walkers").unwrap();
        assert!((u - told).abs() < 1e-12 * u.abs().max(1.0), "{u} {told}");
        let z = step.monitor.unwrap().log_z().value;
        assert_eq!(step.row.get("log_z_monitor"), Some(z));
        assert!(step.cost.forward > forward);
        forward = step.cost.forward;
    }
    let total: f64 = run.finish().unwrap().0.column("forward").unwrap().iter().sum();
    assert_eq!(total, forward as f64);
}

#[test]
fn a_transport_taken_step_by_step_is_the_transport() {
    let path = || Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let transport = Transport::new(Escorted::new(0.5), 12, 300, 3).ess_min(0.9).quiet();
    let expected = transport.run(&path()).unwrap();
    let mut run = transport.start(path()).unwrap();
    let mut times = vec![];
    while let Some(step) = run.step().unwrap() {
        times.push(step.t);
    }
    assert_eq!(times, (0..=12).map(|k| k as f64 / 12.0).collect::<Vec<_>>());
    let (run, back) = run.finish().unwrap();
    assert!(bits(&run) == bits(&expected) && run.walkers.log_z() == expected.walkers.log_z());
    assert!(transport.run(&back).unwrap().finished(), "the path came back");
}

#[test]
fn flow_matching_is_taken_step_by_step_too() {
    let data = data();
    let flow = || FlowNet::from_noise(&Bridge::default(), &data, &FlowShape { widths: vec![8], ..Default::default() });
    let trainer = FlowTrainer::new().steps(12).batch(64).quiet();
    let expected = trainer.train(&mut flow().unwrap(), &data).unwrap();
    let mut run = trainer.start(flow().unwrap(), None, &data).unwrap();
    run.advance(5).unwrap();
    assert!(run.view().walkers.is_empty());
    run.advance(100).unwrap();
    let (run, _) = run.finish().unwrap();
    assert!(run.finished() && bits(&run) == bits(&expected));
}

#[test]
fn a_run_that_is_ended_early_is_paused_and_goes_on_from_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let kept = |dir: &std::path::Path| Checkpointing::resume_or_start(dir).every_steps(1);
    let mut run = trainer(JARZYNSKI).checkpointing(kept(dir.path())).start(model(), &data()).unwrap();
    run.advance(7).unwrap();
    let (run, _) = run.finish().unwrap();
    assert!(matches!(run.outcome, Outcome::Paused { step: 7, .. }), "{:?}", run.outcome);
    assert_eq!(run.stats.height(), 8);
    let rest = trainer(JARZYNSKI).checkpointing(kept(dir.path())).train(&mut model(), &data()).unwrap();
    let whole = trainer(JARZYNSKI).train(&mut model(), &data()).unwrap();
    assert!(rest.finished() && bits(&rest) == bits(&whole));
}

#[test]
fn callbacks_add_columns_and_their_panics_end_the_run_with_its_rows() {
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let mut run = Transport::new(Reversed::new(Mala::new(0.05)), 10, 100, 0).quiet().start(path).unwrap();
    run.advance_with(10, &mut |view| {
        assert!(view.step < 6, "the caller's own mistake");
        vec![("mean".into(), view.walkers.x().mean(Kind::Double).double_value(&[]))]
    })
    .unwrap();
    let (run, _) = run.finish().unwrap();
    let Outcome::Diverged { step: 6, cause } = &run.outcome else { panic!("{:?}", run.outcome) };
    assert!(cause.contains("the caller's own mistake"), "{cause}");
    assert_eq!((run.stats.height(), run.column("mean").unwrap().len()), (6, 6));
}

#[test]
fn the_kernel_need_not_outlive_the_run_nor_be_cloned_for_one_call() {
    #[derive(Debug)]
    struct NoClone(Ula);
    impl<E: jarzynski::Energy + jarzynski::Differentiable + ?Sized> jarzynski::Kernel<E> for NoClone {
        fn forward(&self, u: &E, at: &jarzynski::Evaluation, rng: &mut Rng) -> jarzynski::kernel::Move {
            self.0.forward(u, at, rng)
        }
        fn backward(
            &self,
            u: &E,
            at: &jarzynski::Evaluation,
            mv: jarzynski::kernel::Move,
            rng: &mut Rng,
        ) -> jarzynski::kernel::Arrival {
            self.0.backward(u, at, mv, rng)
        }
    }
    let own = Trainer::new(NoClone(Ula::new(0.1)), Method::Pcd).walkers(20).steps(3).quiet();
    let mut trained = model();
    assert!(own.train(&mut trained, &data()).unwrap().finished() && trained.dim() == 1);
}
