//! Matrix products. Operands are rounded to the device's [`Precision`](crate::device::Precision).

use super::Neuron;
use crate::device::ProductGeometry;

operation! {
    /// C ← neuron(op(A) · op(B) + bias), row-major: C `[m][n]`, op(A) `[m][k]`, op(B) `[k][n]`, bias n values. Where the
    /// product is added to C, there is no bias and no neuron.
    Product = "product" { geometry: ProductGeometry, neuron: Neuron }
    [ a: reads, b: reads, bias: maybe_reads, c: target ]
    impl {
        fn multiply_adds(&self) -> u64 {
            let ProductGeometry { m, n, k, .. } = self.geometry;
            m as u64 * n as u64 * k as u64
        }
    }
}
