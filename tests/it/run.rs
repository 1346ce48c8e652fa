//! Check what a finished run offers: normalised log-densities, samples, annealing, devices.

use crate::common::{FAR, Measured, z_of};
use jarzynski::model::{Gaussian, Mixture, Mlp, MlpShape};
use jarzynski::tch::{self, Device, Kind};
use jarzynski::{
    Geometric, Mala, Method, Model, Optim, Reversed, Rng, Run, Settings, Trainer, Transport, Ula, anneal, device,
    log_prob, transport,
};

fn trained(method: Method) -> (Mixture, Run) {
    let teacher = Mixture::new(&[vec![-1.5, 0.0], vec![1.5, 0.5]], &[0.3, 0.7]).unwrap();
    let data = teacher.sample(800, &mut Rng::new(3));
    let mut model = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.0]], &[0.5, 0.5]).unwrap();
    let s = Settings { walkers: 4_000, steps: 100, lr: 0.05, progress: 0.0, ..Default::default() };
    let run = Trainer::new(Ula::new(0.1), method).settings(s).train(&mut model, &data).unwrap();
    (model, run)
}

#[test]
fn a_trained_model_is_normalised() {
    let (model, run) = trained(Method::Jarzynski { ess_min: 0.5 });
    let x = Rng::new(5).normal(&[20, 2], Kind::Double, Device::Cpu);
    let (density, se) = run.log_prob(&model, &x).unwrap();
    let exact = log_prob(&model, &x, model.log_z_exact().unwrap()).unwrap();
    let z = (density - exact) / se;
    assert!(se > 0.0 && z.abs().max().double_value(&[]) < FAR, "se = {se}");
    let wide = Rng::new(5).normal(&[20, 3], Kind::Double, Device::Cpu);
    assert!(run.log_prob(&model, &wide).unwrap_err().to_string().contains("x has shape [20, 3]"));
}

#[test]
fn unweighted_runs_have_no_log_z_and_say_what_does() {
    let (model, run) = trained(Method::Pcd);
    assert!(run.log_z().is_none());
    let x = Rng::new(5).normal(&[20, 2], Kind::Double, Device::Cpu);
    assert!(run.log_prob(&model, &x).unwrap_err().to_string().contains("anneal"));
    let annealed = anneal(Reversed::new(Mala::new(0.3)), &model, 10, 500, 1).unwrap();
    // The mixture's base is itself: nothing changes along the path, so log Z is exact but for rounding.
    assert!((annealed.log_z().unwrap().value - model.log_z_exact().unwrap()).abs() < 1e-9);
}

#[test]
fn annealing_from_another_law_finds_log_z_and_samples() {
    let (model, _) = trained(Method::Pcd);
    let base = Gaussian::isotropic(2, 2.0, Kind::Double, Device::Cpu).unwrap();
    let path = Geometric { base, target: &model };
    let run = Transport::new(Reversed::new(Mala::new(0.3)), 60, 20_000, 4).run(&path).unwrap();
    let z = run.log_z().unwrap();
    assert!(z_of(&z, model.log_z_exact().unwrap()).abs() < FAR, "{z}");
    let draws = run.samples(5_000, &mut Rng::new(1));
    assert_eq!(draws.size(), [5_000, 2]);
    let g = model.responsibilities(&draws).unwrap().select(1, 0);
    let (mean, se) = g.value_and_se();
    let all = run.walkers.mean(&model.responsibilities(run.walkers.x()).unwrap().select(1, 0)).unwrap();
    let exact = model.masses().double_value(&[0]);
    let z = z_of(&(mean, se.hypot(all.se)), exact);
    assert!(z.abs() < FAR, "z = {z}");
}

#[test]
fn a_trained_net_starts_again_only_with_honest_weights() {
    // U_θ is far from its base after training: A_0 = U_base − U_θ makes the start exact all the same.
    let data = Rng::new(2).normal(&[200, 2], Kind::Double, Device::Cpu) * 0.7 + 0.3;
    let mut net = Mlp::new(2, &MlpShape { widths: vec![16], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let s = Settings { walkers: 3_000, steps: 150, lr: 0.01, optim: Optim::Adam, progress: 0.0, ..Default::default() };
    let trainer = Trainer::new(Ula::new(0.05), Method::Jarzynski { ess_min: 0.5 }).settings(s);
    let first = trainer.train(&mut net, &data).unwrap().log_z().unwrap();
    let again = trainer.clone().steps(1).train(&mut net, &data).unwrap();
    let second = again.column("log_z_monitor").unwrap()[0];
    let se = again.column("log_z_monitor_se").unwrap()[0];
    assert!(z_of(&(second, se.hypot(first.se)), first.value).abs() < FAR, "{second} ± {se}, {first}");
}

#[test]
fn paths_refuse_zero_steps_and_walkers() {
    let base = || Gaussian::isotropic(1, 1.0, Kind::Double, Device::Cpu).unwrap();
    let path = Geometric { base: base(), target: base() };
    for (steps, walkers, part) in [(0, 10, "steps = 0"), (10, 0, "walkers = 0")] {
        let e = transport(Ula::new(0.1), &path, steps, walkers, 0).unwrap_err().to_string();
        assert!(e.contains(part), "{e}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_gpu_gives_the_same_energies_as_the_cpu() {
    let gpu = device("cuda:0").unwrap();
    let x = Rng::new(0).normal(&[64, 10], Kind::Float, Device::Cpu);
    let on = |d: Device| {
        let net = Mlp::new(10, &MlpShape { widths: vec![32], ..Default::default() }, Kind::Float, d).unwrap();
        tch::no_grad(|| jarzynski::Energy::energy(&net, &x.to_device(d))).to_device(Device::Cpu)
    };
    assert!((on(Device::Cpu) - on(gpu)).abs().max().double_value(&[]) < 1e-4);
}
