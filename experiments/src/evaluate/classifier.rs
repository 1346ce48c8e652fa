//! Tell classes of images apart, so that a population's class masses can be measured; its own test accuracy is reported.

use jarzynski::Result;
use jarzynski::data::Dataset;
use jarzynski::model::initialise;
use jarzynski::numeric::Rng;
use jarzynski::tch::nn::{self, Module, OptimizerConfig};
use jarzynski::tch::{self, Kind, Tensor};

/// A small net d → 128 → classes, trained on noisy images of the classes and tested on images it never saw.
#[derive(Debug)]
pub struct Classifier {
    hidden: nn::Linear,
    last: nn::Linear,
    _vs: nn::VarStore,
    /// Share of held-out noisy images that it names rightly.
    pub accuracy: f64,
}

impl Classifier {
    /// Trains on three quarters of `data` (class i is `labels[i]`) with Gaussian noise `noise`, tests on the rest. The net is
    /// where the data are.
    ///
    /// # Errors
    /// None of its own; what the library refuses.
    pub fn train(data: &Dataset, labels: &[i64], noise: f64, steps: usize, seed: u64) -> Result<Self> {
        let mut rng = Rng::new(seed).split(0xc1a5);
        let all = data.labels.clone().unwrap_or_default();
        let class_of = |l: &i64| labels.iter().position(|m| m == l);
        let kept: Vec<(i64, i64)> =
            (0..all.len()).filter_map(|i| class_of(&all[i]).map(|class| (i as i64, class as i64))).collect();
        let order = rng.permutation(kept.len());
        let shuffled: Vec<(i64, i64)> = order.iter().map(|&i| kept[i as usize]).collect();
        let (train, test) = shuffled.split_at(kept.len() * 3 / 4);
        let device = data.x.device();
        let place = |numbers: &[i64]| Tensor::from_slice(numbers).to_device(device);
        let rows = |part: &[(i64, i64)]| {
            let (i, class): (Vec<i64>, Vec<i64>) = part.iter().copied().unzip();
            (data.x.index_select(0, &place(&i)), place(&class))
        };
        let ((x, y), (x_test, y_test)) = (rows(train), rows(test));
        let vs = nn::VarStore::new(device);
        let root = vs.root();
        let hidden = nn::linear(&root / "hidden", data.dim() as i64, 128, Default::default());
        let last = nn::linear(&root / "last", 128, labels.len() as i64, Default::default());
        initialise(&vs, &mut rng, None);
        let mut optimiser = nn::Adam::default().build(&vs, 2e-3)?;
        let mut net = Classifier { hidden, last, _vs: vs, accuracy: f64::NAN };
        for _ in 0..steps {
            let batch = Tensor::from_slice(&rng.indices(train.len(), train.len().min(256))).to_device(device);
            let xb = x.index_select(0, &batch);
            let noisy = &xb + rng.normal(&xb.size(), Kind::Float, device) * noise;
            let loss = net.logits(&noisy).cross_entropy_for_logits(&y.index_select(0, &batch));
            optimiser.backward_step(&loss);
        }
        let noisy = &x_test + rng.normal(&x_test.size(), Kind::Float, device) * noise;
        net.accuracy =
            net.classes(&noisy).eq_tensor(&y_test).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        Ok(net)
    }

    fn logits(&self, x: &Tensor) -> Tensor {
        self.last.forward(&self.hidden.forward(x).silu())
    }

    /// Probability of the likeliest class of each row, `[n]`.
    pub fn confidence(&self, x: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.logits(&x.to_kind(Kind::Float).to_device(self.last.ws.device())).softmax(-1, Kind::Float).amax(-1, false)
    }

    /// Its hidden units at each row, `[n, 128]`.
    pub fn features(&self, x: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.hidden.forward(&x.to_kind(Kind::Float).to_device(self.last.ws.device())).silu()
    }

    /// Class of each row, `[n]`, where the net is.
    pub fn classes(&self, x: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.logits(&x.to_kind(Kind::Float).to_device(self.last.ws.device())).argmax(-1, false)
    }
}
