//! Move θ along a gradient by SGD, Adam, AdamW or RMSProp, with a state that can be written down and taken up again.

use super::Optim;
use crate::error::{Error, Result, no_grad};
use crate::numeric::blocks::read;
use crate::numeric::{Fresh, Real, on_host};
use tch::{Kind, Tensor, nn};

/// The optimiser of one run: the four rules of libtorch, whose own objects do not expose their state.
#[derive(Debug)]
pub(crate) struct Optimiser {
    rule: Optim,
    slots: Vec<Slot>,
    /// Steps so far: Adam's bias correction, and whether momentum has begun.
    steps: u64,
}

/// One parameter tensor with what the rule remembers of its gradients.
#[derive(Debug)]
struct Slot {
    param: Tensor,
    group: usize,
    memory: Vec<Tensor>,
}

const BETA: [f64; 2] = [0.9, 0.999];
const ALPHA: f64 = 0.99;
const EPS: f64 = 1e-8;

impl Optimiser {
    /// For the trainable variables of a store, in their order.
    pub fn new(rule: Optim, vs: &nn::VarStore) -> Self {
        let held = match vs.variables_.lock() {
            Ok(held) => held,
            Err(poisoned) => poisoned.into_inner(),
        };
        let many = match rule {
            Optim::Sgd { momentum: 0.0 } | Optim::Natural { momentum: 0.0, .. } => 0,
            Optim::Sgd { .. } | Optim::Natural { .. } | Optim::RmsProp => 1,
            Optim::Adam | Optim::AdamW { .. } => 2,
        };
        let slots = held.trainable_variables.iter().map(|v| Slot {
            param: v.tensor.shallow_clone(),
            group: v.group,
            memory: (0..many).map(|_| v.tensor.detach().zeros_like()).collect(),
        });
        Optimiser { rule, slots: slots.collect(), steps: 0 }
    }

    /// Number of parameter groups of a store.
    pub fn groups(vs: &nn::VarStore) -> usize {
        let held = match vs.variables_.lock() {
            Ok(held) => held,
            Err(poisoned) => poisoned.into_inner(),
        };
        held.trainable_variables.iter().map(|v| v.group + 1).max().unwrap_or(1)
    }

    /// One step along `grads`, one per parameter; a gradient that is not defined leaves its parameter alone. `lr(group)`.
    pub fn step(&mut self, grads: &[Tensor], lr: impl Fn(usize) -> f64) {
        no_grad(|| {
            self.steps += 1;
            let first = self.steps == 1;
            for (slot, g) in self.slots.iter_mut().zip(grads).filter(|(_, g)| g.defined()) {
                let (lr, g) = (lr(slot.group), g.contiguous());
                let host = on_host(&slot.param) && on_host(&g) && g.kind() == slot.param.kind();
                let rule = Rule::of(self.rule, lr, self.steps, first);
                match (host, slot.param.kind()) {
                    (true, Kind::Float) => slot.on_rows::<f32>(&rule, &g),
                    (true, Kind::Double) => slot.on_rows::<f64>(&rule, &g),
                    _ => slot.on_tensors(&rule, &g),
                }
            }
        })
    }

    /// Steps so far, and the memory by name.
    pub fn state(&self) -> (u64, Vec<(String, Tensor)>) {
        let memory = self.slots.iter().enumerate().flat_map(|(i, slot)| {
            slot.memory.iter().enumerate().map(move |(j, t)| (format!("{i}.{j}"), t.shallow_clone()))
        });
        (self.steps, memory.collect())
    }

    /// Restores what [`state`](Optimiser::state) gave.
    ///
    /// # Errors
    /// A memory that is missing or of another shape.
    pub fn restore(&mut self, steps: u64, find: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        self.steps = steps;
        for (i, slot) in self.slots.iter_mut().enumerate() {
            for (j, held) in slot.memory.iter_mut().enumerate() {
                let t = find(&format!("{i}.{j}"))?;
                if t.size() != held.size() {
                    let expected = format!("{:?}, as the parameter", held.size());
                    return Err(Error::Shape { name: "optimiser", got: t.size(), expected });
                }
                *held = t.to_device(held.device()).to_kind(held.kind());
            }
        }
        Ok(())
    }
}

/// The numbers of one step.
enum Rule {
    Sgd { lr: f64, momentum: f64, first: bool },
    Adam { size: f64, root: f64, shrink: f64 },
    RmsProp { lr: f64 },
}

impl Rule {
    fn of(rule: Optim, lr: f64, steps: u64, first: bool) -> Self {
        let corrected = |beta: f64| 1.0 - beta.powf(steps as f64);
        match rule {
            Optim::Sgd { momentum } => Rule::Sgd { lr, momentum, first },
            // along the natural gradient
            Optim::Natural { momentum, .. } => Rule::Sgd { lr, momentum, first },
            Optim::RmsProp => Rule::RmsProp { lr },
            Optim::Adam | Optim::AdamW { .. } => Rule::Adam {
                size: lr / corrected(BETA[0]),
                root: corrected(BETA[1]).sqrt(),
                shrink: if let Optim::AdamW { weight_decay } = rule { 1.0 - lr * weight_decay } else { 1.0 },
            },
        }
    }
}

impl Slot {
    /// By operations of libtorch: for any device and kind.
    fn on_tensors(&mut self, rule: &Rule, g: &Tensor) {
        let (p, m) = (&self.param, &self.memory);
        let (next, memory) = match rule {
            Rule::Sgd { lr, momentum: 0.0, .. } => (p - g * *lr, vec![]),
            Rule::Sgd { lr, momentum, first } => {
                let kept = if *first { g.copy() } else { &m[0] * *momentum + g };
                (p - &kept * *lr, vec![kept])
            }
            Rule::Adam { size, root, shrink } => {
                let mean = &m[0] * BETA[0] + g * (1.0 - BETA[0]);
                let square = &m[1] * BETA[1] + g.square() * (1.0 - BETA[1]);
                let over = square.sqrt() / *root + EPS;
                (p * *shrink - &mean / over * *size, vec![mean, square])
            }
            Rule::RmsProp { lr } => {
                let square = &m[0] * ALPHA + g.square() * (1.0 - ALPHA);
                (p - g / (square.sqrt() + EPS) * *lr, vec![square])
            }
        };
        self.memory = memory;
        self.param.copy_(&next);
    }

    /// In one pass over memory on a CPU.
    fn on_rows<T: Fused>(&mut self, rule: &Rule, g: &Tensor) {
        let size = self.param.size();
        let mut next = Fresh::<T>::new(&size);
        let mut memory: Vec<Fresh<T>> = self.memory.iter().map(|_| Fresh::new(&size)).collect();
        {
            let (p, g) = (read::<T>(&self.param), read::<T>(g));
            let held: Vec<&[T]> = self.memory.iter().map(read::<T>).collect();
            let mut kept = memory.iter_mut().map(Fresh::elements);
            let (m, v) = (kept.next().unwrap_or_default(), kept.next().unwrap_or_default());
            let none: &[T] = &[];
            let (m0, v0) = (held.first().copied().unwrap_or(none), held.get(1).copied().unwrap_or(none));
            let out = next.elements();
            match *rule {
                Rule::Sgd { lr, momentum: 0.0, .. } => T::sgd(out, p, g, T::of(-lr)),
                Rule::Sgd { lr, momentum, first } => {
                    let momentum = if first { T::of(0.0) } else { T::of(momentum) };
                    T::momentum(out, m, p, g, m0, [T::of(-lr), momentum]);
                }
                Rule::Adam { size, root, shrink } => {
                    T::adam(out, [m, v], p, g, [m0, v0], [T::of(-size), T::of(root), T::of(shrink)]);
                }
                Rule::RmsProp { lr } => T::rms(out, m, p, g, m0, T::of(-lr)),
            }
        }
        self.memory = memory.into_iter().map(Fresh::tensor).collect();
        // a copy in libtorch, which notices if a graph still wanted the old values
        self.param.copy_(&next.tensor());
    }
}

/// The loops of one step, with the fused multiply-add that libtorch's step has.
trait Fused: Real {
    fn sgd(out: &mut [Self], p: &[Self], g: &[Self], minus_lr: Self);
    fn momentum(out: &mut [Self], m: &mut [Self], p: &[Self], g: &[Self], m0: &[Self], rates: [Self; 2]);
    fn adam(out: &mut [Self], mv: [&mut [Self]; 2], p: &[Self], g: &[Self], mv0: [&[Self]; 2], rates: [Self; 3]);
    fn rms(out: &mut [Self], v: &mut [Self], p: &[Self], g: &[Self], v0: &[Self], minus_lr: Self);
}

/// A loop compiled for any CPU, where a fused multiply-add is a slow call with the same result, and for those that have one.
macro_rules! with_fma {
    (fn $name:ident($($arg:tt: $ty:ty),* $(,)?) $body:block, $($call:expr),*) => {
        fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn plain($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
                #[target_feature(enable = "avx2,fma")]
                fn fast($($arg: $ty),*) {
                    plain($($call),*)
                }
                // SAFETY: the CPU has both, as was just asked.
                return unsafe { fast($($call),*) };
            }
            plain($($call),*)
        }
    };
}

macro_rules! fused {
    ($t:ident) => {
        impl Fused for $t {
            with_fma! {
                fn sgd(out: &mut [$t], p: &[$t], g: &[$t], minus_lr: $t) {
                    for ((out, p), g) in out.iter_mut().zip(p).zip(g) {
                        *out = g.mul_add(minus_lr, *p);
                    }
                }, out, p, g, minus_lr
            }

            with_fma! {
                fn momentum(out: &mut [$t], m: &mut [$t], p: &[$t], g: &[$t], m0: &[$t], rates: [$t; 2]) {
                    for ((((out, m), p), g), m0) in out.iter_mut().zip(m).zip(p).zip(g).zip(m0) {
                        *m = m0 * rates[1] + g;
                        *out = m.mul_add(rates[0], *p);
                    }
                }, out, m, p, g, m0, rates
            }

            with_fma! {
                fn adam(out: &mut [$t], mv: [&mut [$t]; 2], p: &[$t], g: &[$t], mv0: [&[$t]; 2], rates: [$t; 3]) {
                    let ([m, v], [m0, v0], [minus_size, root, shrink]) = (mv, mv0, rates);
                    let (beta, share) = (BETA.map(|b| b as $t), BETA.map(|b| (1.0 - b) as $t));
                    let old = p.iter().zip(g).zip(m0).zip(v0);
                    for (((out, m), v), (((p, g), m0), v0)) in out.iter_mut().zip(m).zip(v).zip(old) {
                        *m = g.mul_add(share[0], m0 * beta[0]);
                        *v = (share[1] * g).mul_add(*g, v0 * beta[1]);
                        *out = p * shrink + minus_size * *m / (v.sqrt() / root + EPS as $t);
                    }
                }, out, mv, p, g, mv0, rates
            }

            with_fma! {
                fn rms(out: &mut [$t], v: &mut [$t], p: &[$t], g: &[$t], v0: &[$t], minus_lr: $t) {
                    for ((((out, v), p), g), v0) in out.iter_mut().zip(v).zip(p).zip(g).zip(v0) {
                        *v = ((1.0 - ALPHA) as $t * g).mul_add(*g, v0 * ALPHA as $t);
                        *out = p + minus_lr * g / (v.sqrt() + EPS as $t);
                    }
                }, out, v, p, g, v0, minus_lr
            }
        }
    };
}

fused!(f32);
fused!(f64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;
    use tch::Device;
    use tch::nn::OptimizerConfig;

    const RULES: [Optim; 5] = [
        Optim::Sgd { momentum: 0.0 },
        Optim::Sgd { momentum: 0.9 },
        Optim::Adam,
        Optim::AdamW { weight_decay: 0.01 },
        Optim::RmsProp,
    ];

    fn store(kind: Kind) -> nn::VarStore {
        let mut vs = nn::VarStore::new(Device::Cpu);
        for (name, size) in [("a", vec![7, 13]), ("b", vec![5]), ("c", vec![301])] {
            let _ = vs.root().zeros(name, &size);
        }
        if kind == Kind::Double {
            vs.double();
        }
        for (i, mut p) in vs.trainable_variables().into_iter().enumerate() {
            crate::error::no_grad(|| p.copy_(&Rng::new(i as u64).normal(&p.size(), kind, Device::Cpu)));
        }
        vs
    }

    fn random(vs: &nn::VarStore, kind: Kind, rng: &mut Rng) -> Vec<Tensor> {
        vs.trainable_variables().iter().map(|p| rng.normal(&p.size(), kind, Device::Cpu)).collect()
    }

    fn gap(a: &nn::VarStore, b: &nn::VarStore) -> f64 {
        let pairs = a.trainable_variables().into_iter().zip(b.trainable_variables());
        pairs.map(|(a, b)| (a - b).abs().max().double_value(&[])).fold(0.0, f64::max)
    }

    #[test]
    fn steps_are_those_of_libtorch() {
        for (kind, tolerance) in [(Kind::Float, 2e-5), (Kind::Double, 1e-13)] {
            for rule in RULES {
                let (ours, theirs) = (store(kind), store(kind));
                let mut own = Optimiser::new(rule, &ours);
                let mut other = match rule {
                    Optim::Sgd { momentum } => nn::sgd(momentum, 0.0, 0.0, false).build(&theirs, 0.1),
                    Optim::Adam => nn::Adam::default().build(&theirs, 0.1),
                    Optim::AdamW { weight_decay } => {
                        nn::AdamW { wd: weight_decay, ..Default::default() }.build(&theirs, 0.1)
                    }
                    Optim::RmsProp => nn::RmsProp::default().build(&theirs, 0.1),
                    Optim::Natural { .. } => continue,
                }
                .unwrap();
                let mut rng = Rng::new(4);
                for k in 0..40 {
                    let lr = 0.1 / (1.0 + k as f64);
                    let grads = random(&ours, kind, &mut rng);
                    own.step(&grads, |_| lr);
                    other.set_lr(lr);
                    other.zero_grad();
                    for (p, g) in theirs.trainable_variables().iter().zip(&grads) {
                        (p * g).sum(kind).backward();
                    }
                    other.step();
                }
                let gap = gap(&ours, &theirs);
                // SGD to the last bit; the others' kernels round some products otherwise
                let allowed = if let Optim::Sgd { .. } = rule { 0.0 } else { tolerance };
                assert!(gap <= allowed, "{kind:?} {rule:?}: {gap:e}");
            }
        }
    }

    #[test]
    fn rows_and_tensors_agree_and_a_restored_state_goes_on_with_the_same_bits() {
        for rule in RULES {
            let (a, b, c) = (store(Kind::Double), store(Kind::Double), store(Kind::Double));
            let (mut rows, mut tensors) = (Optimiser::new(rule, &a), Optimiser::new(rule, &b));
            let mut rng = Rng::new(5);
            for k in 0..10 {
                let grads = random(&a, Kind::Double, &mut rng);
                if k == 5 {
                    let (steps, memory) = rows.state();
                    let find = |name: &str| Ok(memory.iter().find(|(n, _)| n == name).unwrap().1.copy());
                    rows = Optimiser::new(rule, &a);
                    rows.restore(steps, find).unwrap();
                }
                rows.step(&grads, |_| 0.01);
                tensors.steps += 1;
                let numbers = Rule::of(rule, 0.01, tensors.steps, k == 0);
                no_grad(|| tensors.slots.iter_mut().zip(&grads).for_each(|(s, g)| s.on_tensors(&numbers, g)));
            }
            assert!(gap(&a, &b) < 1e-14, "{rule:?}");
            // without its memory it would not
            let mut rng = Rng::new(5);
            let mut forgetful = Optimiser::new(rule, &c);
            for k in 0..10 {
                if k == 5 {
                    forgetful = Optimiser::new(rule, &c);
                }
                forgetful.step(&random(&c, Kind::Double, &mut rng), |_| 0.01);
            }
            assert_eq!(gap(&a, &c) > 1e-6, rule != Optim::Sgd { momentum: 0.0 }, "{rule:?}");
        }
    }
}
