//! Check that layers and paths of a user's own have every estimate.

use super::*;

/// A user's own path: inverse temperature t².
#[derive(Debug)]
struct Slow {
    base: Independent<Units>,
    end: Units,
}

impl Path for Slow {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.evaluate(t, x).u
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.layers_at(t).evaluate_rows(x)
    }
}

impl BipartitePath for Slow {
    type Layers = Units;
    fn layers_at(&self, t: f64) -> Units {
        self.end.tempered(t * t)
    }
}

#[test]
fn gibbs_moves_along_a_path_of_ones_own() {
    let end = units("ising", 0.8);
    let exact = exact_log_z(&end).unwrap();
    let path = Slow { base: Independent::new(end.tempered(0.0), false), end };
    let z = Transport::new(Gibbs::new(), 30, 4_000, 2).quiet().run(&path).unwrap().walkers.log_z();
    assert!(((z.value - exact) / z.se).abs() < 5.0, "{z}, exact {exact}");
    let z = Transport::new(Stale(Gibbs::new()), 30, 4_000, 2).quiet().run(&path).unwrap().walkers.log_z();
    assert!(((z.value - exact) / z.se.max(1e-9)).abs() > 5.0, "a wrong weight passes");
}

thread_local! {
    /// How often parameters were interpolated.
    static MIXED: Cell<usize> = const { Cell::new(0) };
}

/// A user's own layers: 0/1 visible units and hidden spins ±1, U = −b·v − c·h − vᵀWh.
#[derive(Debug)]
struct Spins {
    w: Tensor,
    b: Tensor,
    c: Tensor,
}

fn row_sum(t: &Tensor) -> Tensor {
    t.sum_dim_intlist(-1, false, Kind::Double)
}

/// Σ log(e^{x} + e^{−x}).
fn log_two_cosh(x: &Tensor) -> Tensor {
    row_sum(&(x.abs() + (x.abs() * -2.0).exp().log1p()))
}

fn coins(p: &Tensor, rng: &mut Rng) -> Tensor {
    rng.uniform_tensor(&p.size(), Kind::Double, Device::Cpu).lt_tensor(p).to_kind(Kind::Double)
}

impl Spins {
    fn new() -> Self {
        let mut rng = Rng::new(6);
        let mut draw = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu) * 0.6;
        Spins { w: draw(&[5, 3]), b: draw(&[5]), c: draw(&[3]) }
    }

    fn each(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Spins { w: f(&self.w), b: f(&self.b), c: f(&self.c) }
    }
}

impl Layers for Spins {
    fn dims(&self) -> (i64, i64) {
        (5, 3)
    }
    fn hidden_input(&self, v: &Tensor) -> Tensor {
        self.c.addmm(v, &self.w)
    }
    fn visible_input(&self, h: &Tensor) -> Tensor {
        self.b.addmm(h, &self.w.tr())
    }
    fn draw_hidden(&self, a: &Tensor, rng: &mut Rng) -> Tensor {
        coins(&(a * 2.0).sigmoid(), rng) * 2.0 - 1.0
    }
    fn draw_visible(&self, h: &Tensor, rng: &mut Rng) -> Tensor {
        coins(&self.visible_input(h).sigmoid(), rng)
    }
    fn log_hidden(&self, h: &Tensor, a: &Tensor) -> Tensor {
        row_sum(&(a * h)) - log_two_cosh(a)
    }
    fn log_visible(&self, v: &Tensor, g: &Tensor) -> Tensor {
        row_sum(&(g * v - g.softplus()))
    }
    fn joint_energy(&self, v: &Tensor, h: &Tensor, a: &Tensor) -> Tensor {
        -v.mv(&self.b) - row_sum(&(a * h))
    }
    fn free_energy(&self, v: &Tensor, a: &Tensor) -> Tensor {
        -v.mv(&self.b) - log_two_cosh(a)
    }
    fn tempered(&self, beta: f64) -> Self {
        self.each(|t| t * beta)
    }
    fn between(&self, other: &Self, t: f64) -> Self {
        MIXED.set(MIXED.get() + 1);
        let mix = |a: &Tensor, b: &Tensor| a * (1.0 - t) + b * t;
        Spins { w: mix(&self.w, &other.w), b: mix(&self.b, &other.b), c: mix(&self.c, &other.c) }
    }
    fn share(&self) -> Self {
        self.each(Tensor::shallow_clone)
    }
    fn check_visible(&self, _v: &Tensor) -> jarzynski::Result<()> {
        Ok(())
    }
    fn state_count(&self, layer: Layer) -> f64 {
        if layer == Layer::Visible { 32.0 } else { 8.0 }
    }
    fn states(&self, layer: Layer, numbers: std::ops::Range<i64>) -> Tensor {
        let all = match layer {
            Layer::Visible => lists(5, &[vec![0.0], vec![1.0]]),
            Layer::Hidden => lists(3, &[vec![-1.0], vec![1.0]]),
        };
        tensor(&all[numbers.start as usize..numbers.end as usize])
    }
    fn log_weights(&self, layer: Layer, states: &Tensor) -> Tensor {
        match layer {
            Layer::Visible => -self.free_energy(states, &self.hidden_input(states)),
            Layer::Hidden => states.mv(&self.c) + row_sum(&self.visible_input(states).softplus()),
        }
    }
    fn hidden_zeros(&self, n: i64) -> Tensor {
        Tensor::zeros([n, 3], (Kind::Double, Device::Cpu))
    }
}

impl Energy for Spins {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.evaluate_rows(x).u
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.evaluate_rows(x)
    }
}

impl Bipartite for Spins {
    type Layers = Spins;
    fn layers(&self) -> Spins {
        self.share()
    }
}

impl Annealed for Spins {
    type Path<'a> = LayersPath<Spins>;
    fn path(&self) -> jarzynski::Result<LayersPath<Spins>> {
        LayersPath::to(self)
    }
}

#[test]
fn layers_of_ones_own_have_all_estimates_and_are_interpolated_once_per_step() {
    let spins = Spins::new();
    let exact = exact_log_z(&spins).unwrap();
    let all = spins.log_weights(Layer::Visible, &spins.states(Layer::Visible, 0..32));
    assert!((all.logsumexp(0, false).double_value(&[]) - exact).abs() < 1e-10);
    assert!((spins.tempered(0.0).log_z_independent() - 8.0 * 2f64.ln()).abs() < 1e-10);
    MIXED.set(0);
    let z = Ais::new().steps(30).walkers(4_000).quiet().log_z(&spins).unwrap();
    // one per step, the copies of both stops, and the looks at both ends before the first step; two per step would be 60
    assert!((30..=35).contains(&MIXED.get()), "{} interpolations in 30 steps", MIXED.get());
    let other = anneal(Gibbs::new(), &spins, 30, 4_000, 3).unwrap().walkers.log_z();
    for z in [z, other] {
        assert!(((z.value - exact) / z.se).abs() < 5.0, "{z}, exact {exact}");
    }
    let states = spins.states(Layer::Visible, 0..32);
    let mean = ((&all - exact).exp() * states.select(1, 0)).sum(Kind::Double).double_value(&[]);
    let v = Tempering::new().replicas(4).chains(4_000).rounds(40).seed(2).run(&spins).unwrap().v.select(1, 0);
    let z = (v.mean(Kind::Double).double_value(&[]) - mean) / (mean * (1.0 - mean) / 4_000.0).sqrt();
    assert!(z.abs() < 5.0, "{z}");
}
