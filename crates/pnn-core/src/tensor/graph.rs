//! The gradient graph: every result remembers what it was computed from and how a gradient goes
//! back.

use std::cell::Cell;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::arithmetic::add_in_place;
use super::{Inner, Tensor};
use crate::{Error, Result};

/// Numbers tensors in the order of their making: an operand always has a smaller one than what is
/// made from it.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Runs `work` without recording a gradient graph on this thread: nothing that it computes is
/// tracked, and memory is free again as soon as the next layer has read it.
///
/// ```
/// use pnn_core::tensor::without_gradients;
/// use pnn_core::{Tensor, Var};
/// let x = Var::new(&Tensor::new([1.0, 2.0])?).tensor();
/// assert!(!without_gradients(|| x.sqr())?.is_tracked());
/// assert!(x.sqr()?.is_tracked());
/// # Ok::<(), pnn_core::Error>(())
/// ```
pub fn without_gradients<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(false));
    work()
}

type Backward = dyn Fn(Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// What a tensor was computed from.
pub(super) struct Node {
    inputs: Vec<Tensor>,
    backward: Option<Box<Backward>>,
}

impl Drop for Node {
    /// Takes long chains apart in a loop: dropped one inside the other they would overflow the
    /// stack.
    fn drop(&mut self) {
        let mut stack = std::mem::take(&mut self.inputs);
        self.backward = None;
        while let Some(tensor) = stack.pop() {
            if let Some(mut inner) = Arc::into_inner(tensor.0)
                && let Some(mut node) = inner.node.take()
            {
                stack.append(&mut node.inputs);
            }
        }
    }
}

impl Tensor {
    /// Makes a freshly computed tensor a node of the gradient graph. `backward` gets the gradient
    /// of this tensor and returns one for each input, in their order: `None` where an input is not
    /// tracked ([`Self::is_tracked`]) or the gradient vanishes. Nothing is recorded if no input is
    /// tracked.
    ///
    /// ```
    /// use pnn_core::{Tensor, Var};
    /// let x = Var::new(&Tensor::new([1.0, 2.0])?);
    /// let x = x.tensor();
    /// // y = 3 x, written by hand:
    /// let y = Tensor::from_vec(x.elements::<f64>()?.iter().map(|v| 3.0 * v).collect(), 2)?;
    /// let y = y.with_gradient(&[&x], |gradient| Ok(vec![Some((gradient * 3.0)?)]));
    /// assert_eq!(y.backward()?.get(&x).unwrap().to_vec1::<f64>()?, [3.0, 3.0]);
    /// # Ok::<(), pnn_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_gradient(
        self,
        inputs: &[&Self],
        backward: impl Fn(Self) -> Result<Vec<Option<Self>>> + Send + Sync + 'static,
    ) -> Self {
        if !RECORDING.get() || !inputs.iter().any(|input| input.is_tracked()) {
            return self;
        }
        let inputs = inputs.iter().map(|input| (*input).clone()).collect();
        let node = Node { inputs, backward: Some(Box::new(backward)) };
        let Inner { shape, values, offset, .. } = self.into_inner();
        let (id, node) = (next_id(), Some(node));
        Self(Arc::new(Inner { id, shape, values, offset, variable: false, node }))
    }

    /// Whether a gradient flows through this tensor: it is a variable or was computed from one.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.0.variable || self.0.node.is_some()
    }

    /// The gradient of the sum of this tensor's elements (of a loss, usually) in every variable
    /// that it was computed from. Only gradients that a variable needs are computed.
    ///
    /// # Errors
    /// If an operator's backward pass fails or gives a gradient of another shape.
    pub fn backward(&self) -> Result<GradStore> {
        let mut pending = HashMap::from([(self.0.id, Self::full_like(self, 1.0)?)]);
        let mut queue = BinaryHeap::from([Queued(self.clone())]);
        let mut store = GradStore::default();
        while let Some(Queued(tensor)) = queue.pop() {
            let Some(gradient) = pending.remove(&tensor.0.id) else { continue };
            if tensor.0.variable {
                store.0.insert(tensor.0.id, gradient);
                continue;
            }
            let Some(node) = &tensor.0.node else { continue };
            let Some(backward) = &node.backward else { continue };
            let gradients = backward(gradient)?;
            for (input, gradient) in node.inputs.iter().zip(gradients) {
                let (true, Some(gradient)) = (input.is_tracked(), gradient) else { continue };
                if gradient.dims() != input.dims() {
                    let want = format!("{:?}, that of its operand", input.dims());
                    return Err(Error::shape("gradient", &gradient, want));
                }
                match pending.remove(&input.0.id) {
                    Some(sum) => {
                        pending.insert(input.0.id, add_in_place(sum, &gradient)?);
                    }
                    None => {
                        pending.insert(input.0.id, gradient);
                        queue.push(Queued(input.clone()));
                    }
                }
            }
        }
        Ok(store)
    }
}

/// A tensor in the order in which the backward pass meets it: the youngest first.
struct Queued(Tensor);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.0.0.id == other.0.0.id
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.0.id.cmp(&other.0.0.id)
    }
}

/// What a backward pass found: the gradient of each variable.
#[derive(Debug, Default)]
pub struct GradStore(HashMap<u64, Tensor>);

impl GradStore {
    /// The gradient of a variable's tensor, if the loss depends on it.
    #[must_use]
    pub fn get(&self, variable: &Tensor) -> Option<&Tensor> {
        self.0.get(&variable.0.id)
    }

    /// Takes the gradient of a variable's tensor out.
    pub fn remove(&mut self, variable: &Tensor) -> Option<Tensor> {
        self.0.remove(&variable.0.id)
    }
}
