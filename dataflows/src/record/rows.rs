//! Rows side by side.

use std::marker::PhantomData;

use bytemuck::Pod;

/// Rows in order of arrival: of each what is fixed, 16 bytes, and its values behind it.
///
/// A row is written, and read, at one place. What bounds a buffer is stores that wait for memory: each further place would
/// cost as much as all that is computed with a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows<H> {
    words: Vec<u64>,
    width: usize,
    head: PhantomData<H>,
}

/// How many words the fixed part has.
const HEAD: usize = 2;
/// How many words of room are never too many.
const ROOM: usize = 1024;

/// Removes all, and keeps the room unless it is much more than was needed: a burst must not keep its room for ever.
pub(crate) fn recycle<T>(used: &mut Vec<T>) {
    if used.capacity() > (4 * used.len()).max(ROOM) {
        *used = Vec::new();
    }
    used.clear();
}

impl<H> Default for Rows<H> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<H> Rows<H> {
    /// No rows; `width` is how many values each will have.
    pub(crate) fn new(width: usize) -> Self {
        Self { words: Vec::new(), width, head: PhantomData }
    }

    /// Values per row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    #[inline]
    fn stride(&self) -> usize {
        HEAD + self.width
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len() / self.stride()
    }

    /// Whether there are exactly so many, each with all its values.
    pub(crate) fn are(&self, rows: usize) -> bool {
        self.words.len() == rows * self.stride()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether there are so many.
    #[inline]
    pub(crate) fn reach(&self, rows: usize) -> bool {
        self.words.len() >= rows * self.stride()
    }

    /// How many words there is room for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.words.capacity()
    }

    /// Makes room for this many rows, of `width` values, in place of those that there are.
    pub(crate) fn reset(&mut self, width: usize, rows: usize) {
        self.words.clear();
        self.width = width;
        self.words.reserve_exact(rows * self.stride());
    }

    /// Removes all, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    /// Removes all, as [`recycle`] does.
    pub(crate) fn recycle(&mut self) {
        recycle(&mut self.words);
    }

    /// The same rows, without room for more.
    pub(crate) fn copied(&self) -> Self {
        Self { words: self.words.as_slice().into(), ..*self }
    }

    /// All rows as they are in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }

    /// What had these [`Rows::bytes`], of rows with `width` values.
    pub(crate) fn from_bytes(width: usize, bytes: &[u8]) -> Self {
        Self { words: bytemuck::allocation::pod_collect_to_vec(bytes), ..Self::new(width) }
    }
}

impl<H: Pod> Rows<H> {
    /// Appends a row; there are [`Rows::width`] values.
    #[inline(always)]
    pub(crate) fn push(&mut self, head: H, values: &[f64]) {
        let [first, second] = bytemuck::cast::<H, [u64; HEAD]>(head);
        match *values {
            [value] => self.words.extend_from_slice(&[first, second, value.to_bits()]),
            _ => {
                self.words.extend_from_slice(&[first, second]);
                self.words.extend_from_slice(bytemuck::cast_slice(values));
            }
        }
    }

    #[inline]
    pub(crate) fn at(&self, row: usize) -> (H, &[f64]) {
        let stride = self.stride();
        as_row(&self.words[row * stride..][..stride])
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (H, &[f64])> {
        self.words.chunks_exact(self.stride()).map(as_row)
    }
}

#[inline(always)]
fn as_row<H: Pod>(words: &[u64]) -> (H, &[f64]) {
    let (head, values) = words.split_at(HEAD);
    (bytemuck::cast([head[0], head[1]]), bytemuck::cast_slice(values))
}
