//! Test data: tensors in all sorts of layouts, and a generator of small random numbers.

/// What lies between and around the elements of an output.
const GUARD: f32 = -12345.0;
/// Elements of room before and after a tensor.
const ROOM: usize = 40;
/// Channel counts around the lanes of every level.
pub const COUNTS: [usize; 14] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70];

/// A small generator; equal seeds give equal numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) as usize) % limit.max(1)
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A whole number from -4 to 4.
    pub fn small(&mut self) -> f32 {
        self.below(9) as f32 - 4.0
    }
}

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layout {
    /// The last axis innermost, no gaps.
    RowMajor,
    /// Axis 1 innermost, no gaps.
    ChannelsLast,
    /// Axis 1 innermost, and a gap after its last element, as in a slice of a concatenation.
    Slice,
    /// Axis 1 innermost with gaps after every axis but itself.
    Loose,
    /// No axis is contiguous.
    Spread,
}

impl Layout {
    pub const ALL: [Self; 5] = [Self::RowMajor, Self::ChannelsLast, Self::Slice, Self::Loose, Self::Spread];
    /// Those with channels innermost.
    pub const CHANNELS: [Self; 3] = [Self::ChannelsLast, Self::Slice, Self::Loose];

    /// The strides of a tensor of these sizes.
    pub fn strides(self, sizes: &[usize]) -> Vec<usize> {
        let rank = sizes.len();
        // From the innermost axis to the outermost.
        let mut order: Vec<usize> = (0..rank).rev().collect();
        if self != Self::RowMajor && rank > 1 {
            order.retain(|&axis| axis != 1);
            order.insert(0, 1);
        }
        let mut strides = vec![0; rank];
        let mut next = if self == Self::Spread { 2 } else { 1 };
        for (place, axis) in order.into_iter().enumerate() {
            strides[axis] = next;
            let gap = match self {
                Self::RowMajor | Self::ChannelsLast => 0,
                Self::Slice => usize::from(place == 0) * 5,
                Self::Loose | Self::Spread => 3,
            };
            next = next * sizes[axis].max(1) + gap;
        }
        strides
    }
}

/// A tensor with its memory.
#[derive(Clone)]
pub struct Tensor {
    pub strides: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    fn with(sizes: &[usize], strides: Vec<usize>, fill: f32) -> Self {
        let last: usize = sizes.iter().zip(&strides).map(|(size, stride)| size.saturating_sub(1) * stride).sum();
        Self { strides, data: vec![fill; last + 1 + 2 * ROOM] }
    }

    /// An input: elements by `value`, NaN between them.
    pub fn input(sizes: &[usize], strides: Vec<usize>, mut value: impl FnMut() -> f32) -> Self {
        let mut tensor = Self::with(sizes, strides, f32::NAN);
        each(sizes, |index| *tensor.at_mut(index) = value());
        tensor
    }

    /// An input of small integers.
    pub fn small(sizes: &[usize], strides: Vec<usize>, random: &mut Random) -> Self {
        Self::input(sizes, strides, || random.small())
    }

    /// An output: elements by `value`, guards between them.
    pub fn output(sizes: &[usize], strides: Vec<usize>, mut value: impl FnMut(&[usize]) -> f32) -> Self {
        let mut tensor = Self::with(sizes, strides, GUARD);
        each(sizes, |index| *tensor.at_mut(index) = value(index));
        tensor
    }

    /// The same place with guards only.
    pub fn cleared(&self) -> Self {
        Self { data: vec![GUARD; self.data.len()], ..self.clone() }
    }

    fn position(&self, index: &[usize]) -> usize {
        ROOM + index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum::<usize>()
    }

    pub fn at(&self, index: &[usize]) -> f32 {
        self.data[self.position(index)]
    }

    pub fn at_mut(&mut self, index: &[usize]) -> &mut f32 {
        let position = self.position(index);
        &mut self.data[position]
    }

    /// The first element's address, to read from.
    pub fn pointer(&self) -> *mut u8 {
        self.data[ROOM..].as_ptr().cast_mut().cast()
    }

    /// The first element's address, to write to.
    pub fn pointer_mut(&mut self) -> *mut u8 {
        self.data[ROOM..].as_mut_ptr().cast()
    }

    /// All memory, guards included.
    pub fn values(&self) -> &[f32] {
        &self.data
    }
}

/// Calls `body` with every index, the last axis fastest.
pub fn each(sizes: &[usize], mut body: impl FnMut(&[usize])) {
    let count: usize = sizes.iter().product();
    let mut index = vec![0; sizes.len()];
    for _ in 0..count {
        body(&index);
        for axis in (0..sizes.len()).rev() {
            index[axis] += 1;
            if index[axis] < sizes[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// The four values of a rank-4 list.
pub fn four(list: &[usize]) -> [usize; 4] {
    list.try_into().unwrap_or_default()
}
