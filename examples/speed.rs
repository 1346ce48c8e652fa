use jarzynski::model::*;
use jarzynski::tch::*;
use jarzynski::*;
use std::time::Instant;
fn main() {
    let kind = Kind::Double;
    let d = 50;
    let mut a = vec![0.0; d];
    a[0] = -10.0;
    let mut b = vec![0.0; d];
    b[0] = 6.0;
    for kind in [Kind::Double, Kind::Float] {
        let t = Mixture::with_sigma(&[a.clone(), b.clone()], &[0.25, 0.75], &[1.0, 1.0], kind, Device::Cpu).unwrap();
        let data = t.sample(10000, &mut Rng::new(0));
        let mut m = Mixture::with_sigma(&[a.clone(), b.clone()], &[0.5, 0.5], &[1.0, 1.0], kind, Device::Cpu).unwrap();
        let mut rng = Rng::new(1);
        let t0 = Instant::now();
        for _ in 0..50 {
            rng.normal(&[10000, 50], kind, Device::Cpu);
        }
        println!("normal {:?} ms {}", kind, t0.elapsed().as_secs_f64() * 20.0);
        let t0 = Instant::now();
        for _ in 0..50 {
            Tensor::randn([10000, 50], (kind, Device::Cpu));
        }
        println!("randn ms {}", t0.elapsed().as_secs_f64() * 20.0);
        let t0 = Instant::now();
        for _ in 0..50 {
            m.evaluate(&data);
        }
        println!("evaluate ms {}", t0.elapsed().as_secs_f64() * 20.0);
        let t0 = Instant::now();
        for _ in 0..50 {
            m.observe(&data);
        }
        println!("observe ms {}", t0.elapsed().as_secs_f64() * 20.0);
        let w = Tensor::ones([10000], (Kind::Double, Device::Cpu)) / 10000.0;
        let t0 = Instant::now();
        for _ in 0..50 {
            m.param_grad(&mut m.evaluate(&data).into(), &w);
        }
        println!("evaluate+param_grad ms {}", t0.elapsed().as_secs_f64() * 20.0);
        for mon in [0, 10000] {
            let s = Settings {
                walkers: 10000,
                monitor: Some(mon),
                steps: 100,
                lr: 0.0025,
                group_lr: vec![1.0, 5.0],
                update: Some(Update::Free),
                every: 10,
                ..Default::default()
            };
            let run = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 })
                .settings(s)
                .train(&mut m, &data)
                .unwrap();
            println!("step ms {} monitor {}", run.seconds * 10.0, mon);
        }
    }
    let x = Rng::new(3).normal(&[1024, 784], Kind::Float, Device::Cpu) * 0.5;
    let mut cnn = Cnn::new(28, &[16, 32, 64, 64], 1.0, 0, Kind::Float, Device::Cpu).unwrap();
    println!("cnn params {}", cnn.parameter_count());
    let t0 = Instant::now();
    for _ in 0..10 {
        let mut p = cnn.evaluate(&x);
        cnn.param_grad(&mut p, &Tensor::ones([1024], (kind, Device::Cpu)));
    }
    println!("cnn eval+grad ms {}", t0.elapsed().as_secs_f64() * 100.0);
    let t0 = Instant::now();
    for _ in 0..10 {
        cnn.evaluate(&x);
    }
    println!("cnn eval ms {}", t0.elapsed().as_secs_f64() * 100.0);
    let s = Settings {
        walkers: 1024,
        monitor: Some(0),
        steps: 10,
        batch: Some(256),
        update: Some(Update::Free),
        ..Default::default()
    };
    let run = Trainer::new(Ula::new(0.01), Method::Jarzynski { ess_min: 0.5 }).settings(s).train(&mut cnn, &x).unwrap();
    println!("cnn step ms {}", run.seconds * 100.0);
}
