//! Check the models against closed forms, finite differences and their own samples.

use crate::common::{FAR, z_of};
use jarzynski::model::{
    Bridge, Cnn, CnnShape, Coupling, FlowNet, FlowShape, Gaussian, GaussianPath, Interpolant, Mixture, Mlp, MlpShape,
    Rbm, RbmShape,
};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{
    At, Base, Energy, Evaluation, FlowTrainer, Method, Model, Optim, Path, Rng, Run, Trainer, Ula, log_prob,
};

fn mixture() -> Mixture {
    let means = [vec![-1.0, 0.5, 0.2], vec![0.7, -0.4, 1.0], vec![0.1, 2.0, -1.0]];
    Mixture::with_sigma(&means, &[0.2, 0.5, 0.3], &[0.6, 1.1, 0.8], Kind::Double, Device::Cpu).unwrap()
}

fn stirred(mut model: Mlp, seed: u64) -> Mlp {
    let mut rng = Rng::new(seed);
    tch::no_grad(|| {
        for mut p in model.vars_mut().trainable_variables() {
            let noise = rng.normal(&p.size(), p.kind(), p.device()) * 0.3;
            let _ = p.g_add_(&noise);
        }
    });
    model
}

/// max |∇U − central difference| over rows and coordinates.
fn gradient_error<E: Energy>(e: &E, x: &Tensor) -> f64 {
    let at = e.evaluate(x);
    let step = 1e-5;
    let mut worst: f64 = 0.0;
    for j in 0..x.size()[1] {
        let shift = Tensor::zeros_like(&x.get(0));
        let _ = shift.get(j).fill_(step);
        let d = tch::no_grad(|| (e.energy(&(x + &shift)) - e.energy(&(x - &shift))) / (2.0 * step));
        worst = worst.max((d - at.grad().select(1, j)).abs().max().double_value(&[]));
    }
    worst
}

/// max |Σ w ∂_θU − central difference| over all parameters.
fn parameter_gradient_error<M: Model>(m: &M, x: &Tensor, w: &Tensor) -> f64 {
    let mut at = m.evaluate_data(x);
    let grads = m.param_grad(&mut at, w);
    let step = 1e-5;
    let mut worst: f64 = 0.0;
    for (p, g) in m.vars().trainable_variables().iter().zip(&grads) {
        let flat = tch::no_grad(|| p.view(-1));
        for i in 0..flat.size()[0] {
            let at = |delta: f64| {
                tch::no_grad(|| {
                    let mut cell = flat.get(i);
                    let old = cell.double_value(&[]);
                    let _ = cell.fill_(old + delta);
                    let v = m.energy(x).dot(w).double_value(&[]);
                    let _ = cell.fill_(old);
                    v
                })
            };
            let d = (at(step) - at(-step)) / (2.0 * step);
            worst = worst.max((d - g.view(-1).double_value(&[i])).abs());
        }
    }
    worst
}

#[test]
fn gradients_agree_with_finite_differences() {
    let mut rng = Rng::new(2);
    let x = rng.normal(&[7, 3], Kind::Double, Device::Cpu);
    let w = rng.normal(&[7], Kind::Double, Device::Cpu);
    let m = mixture();
    assert!(gradient_error(&m, &x) < 1e-8);
    assert!(parameter_gradient_error(&m, &x, &w) < 1e-8);
    let g = Gaussian::new(&[0.1, -0.3, 2.0], &[0.5, 1.5, 1.0]).unwrap();
    assert!(gradient_error(&g, &x) < 1e-8);
    let net = stirred(
        Mlp::new(3, &MlpShape { widths: vec![8, 5], sigma: 1.3, ..Default::default() }, Kind::Double, Device::Cpu)
            .unwrap(),
        4,
    );
    assert!(gradient_error(&net, &x) < 1e-8);
    assert!(parameter_gradient_error(&net, &x, &w) < 1e-8);
}

#[test]
fn closed_form_evaluation_equals_autograd() {
    let m = mixture();
    let x = Rng::new(3).normal(&[50, 3], Kind::Double, Device::Cpu) * 3.0;
    let (closed, auto) = (m.evaluate(&x), Evaluation::autograd(&m, &x));
    assert!((&closed.u - &auto.u).abs().max().double_value(&[]) < 1e-12);
    assert!((closed.grad() - auto.grad()).abs().max().double_value(&[]) < 1e-12);
}

#[test]
fn mixture_log_z_and_masses_are_those_of_quadrature() {
    // 1-D: the trapezoid rule on a smooth, decaying integrand converges beyond f64 at this spacing.
    let means = [vec![-1.0], vec![1.5]];
    let m = Mixture::with_sigma(&means, &[0.3, 0.7], &[0.5, 0.8], Kind::Double, Device::Cpu).unwrap();
    let (lo, step, n) = (-15.0, 1e-3, 30_001);
    let x = (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step + lo).view([n, 1]);
    let rho = tch::no_grad(|| (-m.energy(&x)).exp());
    let z = rho.sum(Kind::Double).double_value(&[]) * step;
    assert!((z.ln() - m.log_z_exact().unwrap()).abs() < 1e-10);
    let first = (m.responsibilities(&x).unwrap().select(1, 0) * &rho).sum(Kind::Double).double_value(&[]) * step / z;
    assert!((first - 0.3).abs() < 1e-10);
    assert!((m.masses().double_value(&[0]) - 0.3).abs() < 1e-12);
    // Normalised weights and unit σ: U is −log of the density up to the constant log Z.
    let frozen = m.frozen().unwrap();
    assert!(tch::no_grad(|| frozen.energy(&x)).equal(&tch::no_grad(|| m.energy(&x))));
}

#[test]
fn samples_have_the_masses_of_the_modes() {
    let m = mixture();
    let n = 40_000;
    for stratified in [false, true] {
        let mut rng = Rng::new(9);
        let x =
            if stratified { m.sample_stratified(n, &mut rng) } else { Model::base(&m).unwrap().sample(n, &mut rng) };
        let g = m.responsibilities(&x).unwrap();
        for j in 0..3 {
            let (gj, p) = (g.select(1, j), m.masses().double_value(&[j]));
            let z = z_of(&gj, p);
            assert!(z.abs() < FAR, "stratified {stratified}, mode {j}: z = {z}");
        }
    }
}

#[test]
fn nets_start_as_exact_gaussians_and_cnn_has_the_papers_size() {
    let x = Rng::new(1).normal(&[6, 784], Kind::Float, Device::Cpu);
    let cnn = Cnn::new(28, &CnnShape::default(), Kind::Float, Device::Cpu).unwrap();
    let base = cnn.base().unwrap();
    let gap = tch::no_grad(|| cnn.energy(&x) - base.energy(&x)).abs().max().double_value(&[]);
    assert_eq!(gap, 0.0);
    assert_eq!(cnn.parameter_count(), 76_993);
    let exact = 784.0 * 0.5 * (2.0 * std::f64::consts::PI).ln();
    assert!((base.log_z() - exact).abs() < 1e-9);
}

#[test]
fn safetensors_round_trip_and_refuse_another_shape() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let a =
        stirred(Mlp::new(3, &MlpShape { widths: vec![8], ..Default::default() }, Kind::Float, Device::Cpu).unwrap(), 1);
    a.save(&path).unwrap();
    let mut b =
        Mlp::new(3, &MlpShape { widths: vec![8], seed: 5, ..Default::default() }, Kind::Float, Device::Cpu).unwrap();
    b.load(&path).unwrap();
    let x = Rng::new(1).normal(&[4, 3], Kind::Float, Device::Cpu);
    assert!(tch::no_grad(|| a.energy(&x)).equal(&tch::no_grad(|| b.energy(&x))));
    let mut c = Mlp::new(3, &MlpShape { widths: vec![9], ..Default::default() }, Kind::Float, Device::Cpu).unwrap();
    assert!(c.load(&path).is_err());
    assert!(b.load(&dir.path().join("absent.safetensors")).is_err());
}

/// What `load` says of a file that is not this model's; the model's parameters must be as they were.
fn refusal<M: Model>(mut model: M, file: &std::path::Path) -> String {
    let all = |model: &M| -> Vec<f64> {
        let mut named: Vec<_> = model.vars().variables().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.iter().flat_map(|(_, t)| Vec::<f64>::try_from(t.to_kind(Kind::Double).view(-1)).unwrap()).collect()
    };
    let before = all(&model);
    let error = model.load(file).unwrap_err();
    assert_eq!(before, all(&model), "{error}");
    assert!(matches!(error, jarzynski::Error::Data { .. }), "{error}");
    error.to_string()
}

#[test]
fn files_hold_all_that_defines_a_model_and_are_refused_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model");
    let says = |text: String, words: &[&str]| assert!(words.iter().all(|w| text.contains(w)), "{text}");
    let net = |sigma, kind| {
        Mlp::new(2, &MlpShape { widths: vec![4], sigma, ..Default::default() }, kind, Device::Cpu).unwrap()
    };
    let x = Tensor::from_slice(&[2.0f32, 0.0]).view([1, 2]);
    let energy = |m: &Mlp| tch::no_grad(|| m.energy(&x)).double_value(&[0]);
    net(2.0, Kind::Float).save(&file).unwrap();
    let mut again = net(2.0, Kind::Float);
    again.load(&file).unwrap();
    assert_eq!(energy(&again), 0.5);
    says(refusal(net(1.0, Kind::Float), &file), &["sigma = 2.0", "expected 1.0"]);
    // what the same parameters would have given there
    let mut other = net(1.0, Kind::Float);
    other.vars_mut().copy(again.vars()).unwrap();
    assert_eq!(energy(&other), 2.0);
    says(refusal(net(2.0, Kind::Double), &file), &["kind = \"Float\"", "expected \"Double\""]);
    says(refusal(net(2.0, Kind::Float).mixed(), &file), &["mixed = false", "expected true"]);
    says(
        refusal(
            Mlp::new(2, &MlpShape { widths: vec![5], sigma: 2.0, ..Default::default() }, Kind::Float, Device::Cpu)
                .unwrap(),
            &file,
        ),
        &["parameters.hidden0", "5"],
    );
    let mixture = |weights: &[f64], sigma: &[f64]| {
        Mixture::with_sigma(&[vec![-1.0], vec![1.0]], weights, sigma, Kind::Double, Device::Cpu).unwrap()
    };
    // images of 27 and of 28 pixels have parameters of the same shapes
    let cnn = |side| Cnn::new(side, &CnnShape { channels: vec![2; 4], ..Default::default() }, Kind::Float, Device::Cpu);
    cnn(27).unwrap().save(&file).unwrap();
    says(refusal(cnn(28).unwrap(), &file), &["dim = 729", "expected 784"]);
    says(refusal(mixture(&[0.5, 0.5], &[1.0, 1.0]), &file), &["model = \"Cnn\"", "expected \"Mixture\""]);
    let saved = mixture(&[0.3, 0.7], &[1.0, 1.0]);
    saved.save(&file).unwrap();
    let mut again = mixture(&[0.5, 0.5], &[1.0, 1.0]);
    again.load(&file).unwrap();
    assert!((again.masses().double_value(&[0]) - 0.3).abs() < 1e-12);
    says(refusal(mixture(&[0.5, 0.5], &[1.0, 27.0 / 7.0]), &file), &["sigma.1 = 1.0", "expected 3.857"]);
    let mut other = mixture(&[0.5, 0.5], &[1.0, 27.0 / 7.0]);
    other.vars_mut().copy(saved.vars()).unwrap();
    assert!((other.masses().double_value(&[0]) - 0.1).abs() < 1e-12);
}

/// A user's own energy x⁴/θ⁴ with a constant power, and without one.
#[derive(Debug)]
struct Power(tch::nn::VarStore, Tensor, Option<i64>);

impl Power {
    fn new(power: Option<i64>) -> Self {
        let vs = tch::nn::VarStore::new(Device::Cpu);
        let theta = vs.root().ones("theta", &[1]);
        Power(vs, theta, power)
    }
}

impl Energy for Power {
    fn energy(&self, x: &Tensor) -> Tensor {
        (x / &self.1).abs().pow_tensor_scalar(self.2.unwrap_or(4)).sum_dim_intlist(-1, false, None::<Kind>)
    }
}

impl Model for Power {
    fn vars(&self) -> &tch::nn::VarStore {
        &self.0
    }
    fn vars_mut(&mut self) -> &mut tch::nn::VarStore {
        &mut self.0
    }
    fn base(&self) -> jarzynski::Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(1, 1.0, Kind::Float, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        1
    }
    fn constants(&self) -> serde_json::Value {
        self.2.map_or(serde_json::Value::Null, |power| serde_json::json!({ "power": power }))
    }
}

#[test]
fn a_model_of_ones_own_is_described_by_its_type_its_shapes_and_the_constants_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("power.safetensors");
    let described = Power::new(None).describe();
    assert_eq!(
        described,
        serde_json::json!({ "model": "Power", "dim": 1, "kind": "Float", "parameters": { "theta": [1] } })
    );
    Power::new(Some(4)).save(&file).unwrap();
    Power::new(Some(4)).load(&file).unwrap();
    let text = refusal(Power::new(Some(6)), &file);
    assert!(text.contains("power = 4") && text.contains("expected 6"), "{text}");
    let lost = Power::new(None);
    tch::no_grad(|| lost.0.variables().values().for_each(|t| drop(t.shallow_clone().fill_(f64::NAN))));
    let text = lost.save(&file).unwrap_err().to_string();
    assert!(text.contains("parameter of the model is not finite in theta"), "{text}");
}

#[test]
fn a_file_is_read_by_its_content_whatever_its_ending() {
    let dir = tempfile::tempdir().unwrap();
    let net =
        || Mlp::new(2, &MlpShape { widths: vec![4], seed: 3, ..Default::default() }, Kind::Float, Device::Cpu).unwrap();
    let saved = stirred(net(), 1);
    let x = Rng::new(1).normal(&[4, 2], Kind::Float, Device::Cpu);
    for name in ["net.safetensors", "net.pt", "net.ot", "net", ".net"] {
        let file = dir.path().join(name);
        saved.save(&file).unwrap();
        let mut again = net();
        again.load(&file).unwrap();
        assert!(tch::no_grad(|| saved.energy(&x)).equal(&tch::no_grad(|| again.energy(&x))), "{name}");
    }
    let all: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(all.len(), 5, "nothing is left beside the files: {all:?}");
    let file = dir.path().join("net");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let text = refusal(net(), &file);
    assert!(text.contains("SHA-256"), "{text}");
    std::fs::write(&file, b"PK\x03\x04 a pickle").unwrap();
    let text = refusal(net(), &file);
    assert!(text.contains("safetensors"), "{text}");
}

#[test]
fn bad_models_are_refused_by_name() {
    let says = |e: jarzynski::Error, part: &str| assert!(e.to_string().contains(part), "{e}");
    says(Mixture::new(&[], &[]).unwrap_err(), "means");
    says(Mixture::new(&[vec![0.0], vec![1.0, 2.0]], &[0.5, 0.5]).unwrap_err(), "means");
    says(Mixture::new(&[vec![0.0]], &[-1.0]).unwrap_err(), "weights = -1");
    says(Mixture::new(&[vec![0.0]], &[1.0, 2.0]).unwrap_err(), "weights has shape [2]");
    says(Gaussian::new(&[0.0], &[0.0]).unwrap_err(), "sigma = 0");
    says(
        Mlp::new(0, &MlpShape { widths: vec![4], ..Default::default() }, Kind::Float, Device::Cpu).unwrap_err(),
        "dim = 0",
    );
    says(
        Mlp::new(2, &MlpShape { widths: vec![], ..Default::default() }, Kind::Float, Device::Cpu).unwrap_err(),
        "widths",
    );
    says(
        Cnn::new(28, &CnnShape { channels: vec![1, 2], ..Default::default() }, Kind::Float, Device::Cpu).unwrap_err(),
        "channels",
    );
}

/// Every kind that data come in.
const KINDS: [Kind; 10] = [
    Kind::Double,
    Kind::Float,
    Kind::Half,
    Kind::BFloat16,
    Kind::Int64,
    Kind::Int,
    Kind::Int16,
    Kind::Int8,
    Kind::Uint8,
    Kind::Bool,
];

/// Rows of zeros and ones, which every kind holds exactly.
fn bits(n: i64, d: i64, kind: Kind) -> Tensor {
    Rng::new(8).uniform_tensor(&[n, d], Kind::Double, Device::Cpu).round().to_kind(kind)
}

fn refused_by_panic(f: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn energies_take_rows_of_any_kind_and_none_of_another_width() {
    let float = (Kind::Float, Device::Cpu);
    let one = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap();
    let small = Mixture::with_sigma(&[vec![0.5, 0.1]], &[1.0], &[0.7], float.0, float.1).unwrap();
    let net = stirred(Mlp::new(2, &MlpShape { widths: vec![8], ..Default::default() }, float.0, float.1).unwrap(), 4);
    let cnn = Cnn::new(8, &CnnShape { channels: vec![2; 4], ..Default::default() }, float.0, float.1).unwrap();
    let far = Gaussian::new(&[1.0], &[0.5]).unwrap();
    let path = GaussianPath::new((&[0.0], &[1.0]), (&[1.0], &[0.5]), Coupling::Straight).unwrap();
    let way = Interpolant::new(&[vec![-1.0], vec![1.5]], &[0.4, 0.6], &[0.5, 0.3]).unwrap();
    let flow = FlowNet::from_noise(&Bridge::default(), &bits(50, 2, Kind::Float), &FlowShape::default()).unwrap();
    let (path, way, flow) = (At::new(&path, 0.5), At::new(&way, 0.5), At::new(&flow, 0.5));
    let all: [(&str, i64, &dyn Energy); 9] = [
        ("mixture", 3, &mixture()),
        ("mixture of one coordinate", 1, &one),
        ("mixture in f32", 2, &small),
        ("Gaussian", 1, &far),
        ("Gaussian path", 1, &path),
        ("interpolant", 1, &way),
        ("MLP", 2, &net),
        ("CNN", 64, &cnn),
        ("flow", 2, &flow),
    ];
    for (name, d, u) in all {
        let exact = u.evaluate(&bits(20, d, Kind::Double));
        for kind in KINDS {
            let x = bits(20, d, kind);
            let at = u.evaluate(&x);
            let off = |a: &Tensor, b: &Tensor| (a.to_kind(Kind::Double) - b).abs().max().double_value(&[]);
            assert!(off(&at.u, &exact.u) < 1e-4, "{name}, {kind:?}");
            assert!(off(at.grad(), exact.grad()) < 1e-4, "{name}, {kind:?}");
            assert!(off(&tch::no_grad(|| u.energy(&x)), &exact.u) < 1e-4, "{name}, {kind:?}");
        }
        for wrong in [d + 1, 3 * d] {
            let x = bits(4, wrong, Kind::Double);
            for text in [refused_by_panic(|| drop(u.evaluate(&x))), refused_by_panic(|| drop(u.energy(&x)))] {
                assert!(text.contains(&format!("x has shape [4, {wrong}]: expected [n, {d}]")), "{name}: {text}");
            }
        }
    }
    let text = refused_by_panic(|| drop(one.evaluate_data(&bits(4, 3, Kind::Double))));
    assert!(text.contains("x has shape [4, 3]"), "{text}");
}

/// A public call that takes rows: its name, that of the argument, the width that it expects (`None` for any), and a number
/// that it makes of them.
type Call<'a> = (&'static str, &'static str, Option<i64>, &'a dyn Fn(&Tensor) -> jarzynski::Result<f64>);

#[test]
fn public_calls_take_rows_of_any_kind_or_name_what_is_wrong_with_them() {
    let float = (Kind::Float, Device::Cpu);
    let mlp = || Mlp::new(2, &MlpShape { widths: vec![8], ..Default::default() }, float.0, float.1).unwrap();
    let two = || Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.0]], &[0.5, 0.5]).unwrap();
    let one = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap();
    let cnn = Cnn::new(8, &CnnShape { channels: vec![2; 4], ..Default::default() }, float.0, float.1).unwrap();
    let last = |run: Run| Ok(*run.column("energy_data")?.last().unwrap());
    let trainer = |method| Trainer::new(Ula::new(0.05), method).walkers(20).steps(3).batch(7).lr(0.01).quiet();
    let weighted = trainer(Method::Jarzynski { ess_min: 0.5 });
    let trained = weighted.train(&mut two(), &bits(30, 2, Kind::Double)).unwrap();
    let shape = FlowShape { widths: vec![8], ..Default::default() };
    let other = bits(30, 2, Kind::Float).flip([1]);
    let noise = || FlowNet::from_noise(&Bridge::default(), &other, &shape).unwrap();
    let pair = || FlowNet::between(&Bridge::default(), &other, &other, &shape).unwrap();
    let at = |flow: &FlowNet| flow.energy(0.5, &Tensor::from_slice(&[0.3, -0.2]).view([1, 2])).double_value(&[0]);
    let score = |run: Run| Ok(*run.column("loss_score")?.last().unwrap());
    let flows = FlowTrainer::new().steps(3).batch(16).every(1).quiet();
    let machine = Rbm::bernoulli(&bits(30, 2, Kind::Float), &RbmShape { hidden: 3, ..Default::default() }).unwrap();
    let calls: [Call; 15] = [
        ("log_prob of a machine", "x", Some(2), &|x| {
            Ok(log_prob(&machine, x, 0.5)?.sum(Kind::Double).double_value(&[]))
        }),
        ("log_prob of an MLP", "x", Some(2), &|x| Ok(log_prob(&mlp(), x, 0.5)?.sum(Kind::Double).double_value(&[]))),
        ("log_prob of a CNN", "x", Some(64), &|x| Ok(log_prob(&cnn, x, 0.5)?.sum(Kind::Double).double_value(&[]))),
        ("log_prob of a mixture", "x", Some(1), &|x| Ok(log_prob(&one, x, 0.5)?.sum(Kind::Double).double_value(&[]))),
        ("Run::log_prob", "x", Some(2), &|x| Ok(trained.log_prob(&two(), x)?.0.sum(Kind::Double).double_value(&[]))),
        ("responsibilities", "x", Some(2), &|x| {
            Ok(two().responsibilities(x)?.select(1, 0).sum(Kind::Double).double_value(&[]))
        }),
        ("train, f64", "data", Some(2), &|x| last(weighted.train(&mut two(), x)?)),
        ("train, f32", "data", Some(2), &|x| last(weighted.train(&mut mlp(), x)?)),
        ("train by PCD", "data", Some(2), &|x| last(trainer(Method::Pcd).train(&mut mlp(), x)?)),
        ("train by CD", "data", Some(2), &|x| last(trainer(Method::Cd { k: 1 }).train(&mut mlp(), x)?)),
        ("start", "data", Some(2), &|x| last(weighted.start(mlp(), x)?.finish()?.0).or(Ok(0.0))),
        ("from_noise", "data", None, &|x| Ok(at(&FlowNet::from_noise(&Bridge::default(), x, &shape)?))),
        ("between, from", "from", Some(2), &|x| Ok(at(&FlowNet::between(&Bridge::default(), x, &other, &shape)?))),
        ("FlowTrainer::train", "data", Some(2), &|x| score(flows.train(&mut noise(), x)?)),
        ("train_pairs", "from", Some(2), &|x| score(flows.train_pairs(&mut pair(), x, &other)?)),
    ];
    for (name, argument, width, call) in calls {
        let d = width.unwrap_or(2);
        let exact = call(&bits(30, d, Kind::Double)).unwrap();
        for kind in KINDS {
            let value = call(&bits(30, d, kind)).unwrap();
            assert!((value - exact).abs() < 1e-3 * (1.0 + exact.abs()), "{name}, {kind:?}: {value}, f64 gives {exact}");
        }
        let x = bits(30, d, Kind::Float);
        let mut bad = vec![
            ("one dimension", x.select(1, 0)),
            ("three dimensions", x.unsqueeze(0)),
            ("no rows", x.narrow(0, 0, 0)),
            ("no tensor", Tensor::new()),
            ("complex numbers", x.to_kind(Kind::ComplexFloat)),
            ("sparse", x.to_sparse_sparse_dim(2)),
            ("NaN", &x / 0.0),
            ("NaN in half precision", (&x / 0.0).to_kind(Kind::Half)),
        ];
        if width.is_some() {
            bad.push(("too wide", bits(30, d + 1, Kind::Float)));
            bad.push(("three times as wide", bits(30, 3 * d, Kind::Int64)));
        }
        for (what, x) in bad {
            let text = call(&x).map(|v| format!("{name} made {v} of {what}")).unwrap_err().to_string();
            assert!(text.starts_with(&format!("{argument} ")), "{name}, {what}: {text}");
        }
    }
    // a binary machine has no density between 0 and 1
    let text = log_prob(&machine, &(bits(30, 2, Kind::Double) * 0.5), 0.0).unwrap_err().to_string();
    assert!(text.contains("0.5 at row"), "{text}");
    // what f32 cannot hold is not silently infinite
    let huge = bits(30, 2, Kind::Double) * 1e300;
    assert!(log_prob(&mlp(), &huge, 0.0).unwrap_err().to_string().contains("x is not finite in row"));
    assert!(log_prob(&two(), &huge, 0.0).is_ok());
}

#[test]
fn a_net_in_mixed_precision_is_exact_for_its_own_rounded_energy() {
    let teacher = Mixture::new(&[vec![-1.5, 0.0], vec![1.5, 0.5]], &[0.3, 0.7]).unwrap();
    let data = teacher.sample(2_000, &mut Rng::new(1)).to_kind(Kind::Float);
    let mut net =
        Mlp::new(2, &MlpShape { widths: vec![32, 32], sigma: 2.0, ..Default::default() }, Kind::Float, Device::Cpu)
            .unwrap()
            .mixed();
    let log_z = |net: &Mlp| {
        let (side, reach) = (600, 12.0);
        let line = Tensor::linspace(-reach, reach, side, (Kind::Float, Device::Cpu));
        let grid = Tensor::stack(&Tensor::meshgrid(&[&line, &line]), -1).view([-1, 2]);
        let u = tch::no_grad(|| net.energy(&grid)).to_kind(Kind::Double);
        (-u).logsumexp(0, false).double_value(&[]) + 2.0 * (2.0 * reach / (side - 1) as f64).ln()
    };
    let before = log_z(&net);
    let trainer = Trainer::new(Ula::new(0.05), Method::Jarzynski { ess_min: 0.5 });
    let run =
        trainer.walkers(1_500).steps(200).optim(Optim::Adam).lr(3e-2).seed(3).quiet().train(&mut net, &data).unwrap();
    let (exact, z) = (log_z(&net), run.log_z().unwrap());
    assert!(z_of(&z, exact).abs() < FAR, "log Z {z}, by quadrature {exact}");
    assert!(z_of(&z, before).abs() > FAR, "weights that do not follow θ would pass");
    // the same parameters in f32 are another energy, by about the rounding of bfloat16
    let mut full =
        Mlp::new(2, &MlpShape { widths: vec![32, 32], sigma: 2.0, ..Default::default() }, Kind::Float, Device::Cpu)
            .unwrap();
    full.vars_mut().copy(net.vars()).unwrap();
    let gap = (full.energy(&data) - net.energy(&data)).abs().max().double_value(&[]);
    assert!(gap > 1e-4 && gap < 0.3, "{gap}");
    assert!(net.energy(&data).kind() == Kind::Float && run.walkers.log_weights().kind() == Kind::Double);
}

#[test]
fn a_convolution_in_mixed_precision_is_the_same_net_within_its_rounding() {
    let net = || {
        Cnn::new(12, &CnnShape { channels: vec![4, 6, 6, 8], seed: 1, ..Default::default() }, Kind::Float, Device::Cpu)
            .unwrap()
    };
    let (mut full, mut mixed) = (net(), net().mixed());
    for net in [&mut full, &mut mixed] {
        let mut rng = Rng::new(2);
        tch::no_grad(|| {
            let all = net.vars_mut().variables();
            let mut named: Vec<_> = all.into_iter().collect();
            named.sort_by(|a, b| a.0.cmp(&b.0));
            named
                .into_iter()
                .for_each(|(_, mut p)| p.copy_(&(&p + rng.normal(&p.size(), Kind::Float, Device::Cpu) * 0.3)));
        });
    }
    let x = Rng::new(3).normal(&[50, 144], Kind::Float, Device::Cpu);
    let (a, b) = (full.evaluate(&x), mixed.evaluate(&x));
    let well = x.square().sum_dim_intlist(-1, false, Kind::Float) * 0.5;
    let share = |a: &Tensor, b: &Tensor| ((a - b).norm() / a.norm()).double_value(&[]);
    let (net, rounded) = (&a.u - &well, &b.u - &well);
    // eight bits of a number, a few hundred of them in each sum
    let (u, g) = (share(&net, &rounded), share(&(a.grad() - &x), &(b.grad() - &x)));
    assert!(u > 1e-5 && u < 0.02 && g > 1e-4 && g < 0.05, "{u:e} {g:e}");
}

#[test]
fn a_run_is_not_continued_with_another_constant() {
    let dir = tempfile::tempdir().unwrap();
    let data = bits(40, 2, Kind::Float);
    let trainer = Trainer::new(Ula::new(0.05), Method::Pcd).walkers(20).quiet().resume_or_start(dir.path().join("run"));
    let net = |sigma| {
        let shape = MlpShape { widths: vec![4], sigma, ..Default::default() };
        Mlp::new(2, &shape, Kind::Float, Device::Cpu).unwrap()
    };
    trainer.clone().steps(3).train(&mut net(2.0), &data).unwrap();
    let text = trainer.clone().steps(6).train(&mut net(1.0), &data).unwrap_err().to_string();
    assert!(text.contains("model.sigma = 1.0, was 2.0"), "{text}");
    let text = trainer.clone().steps(6).train(&mut net(2.0).mixed(), &data).unwrap_err().to_string();
    assert!(text.contains("model.mixed = true, was false"), "{text}");
    let text = trainer.clone().steps(2).train(&mut net(2.0), &data).unwrap_err().to_string();
    assert!(text.contains("steps = 2: expected at least the 3"), "{text}");
    assert!(trainer.steps(6).train(&mut net(2.0), &data).unwrap().finished());
}
