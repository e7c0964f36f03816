//! A frame as two raw pointers, with the one bounds check that the kernel's verifier understands.
//!
//! A `&[u8]` would not do: its length is a plain number to the verifier and proves nothing about the memory behind the
//! pointer. [`Frame::view`] is the only way to the bytes; it yields a [`View`] of a length known at compile time, and
//! every offset into a view is checked by the compiler. Nothing outside this file needs `unsafe` to reach a packet.

use core::marker::PhantomData;

/// The bytes between two pointers: a frame from its Ethernet header to its last byte.
///
/// Neither `Copy` nor `Clone`: who resizes a frame gives the old one up, and its views with it.
pub struct Frame<'a> {
    data: *mut u8,
    end: *mut u8,
    /// Where the headroom begins, which a driver keeps in front of every frame.
    #[cfg(feature = "testing")]
    floor: *mut u8,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Frame<'a> {
    /// # Safety
    /// `data..end` is readable and writable for `'a`, and only this frame and its views reach it meanwhile.
    #[inline(always)]
    pub unsafe fn new(data: *mut u8, end: *mut u8) -> Self {
        Self {
            data,
            end,
            #[cfg(feature = "testing")]
            floor: data,
            memory: PhantomData,
        }
    }

    pub fn from_bytes(bytes: &'a mut [u8]) -> Self {
        let range = bytes.as_mut_ptr_range();
        // SAFETY: the exclusive borrow lasts for 'a.
        unsafe { Self::new(range.start, range.end) }
    }

    #[inline(always)]
    #[allow(clippy::len_without_is_empty, reason = "no device hands over an empty frame")]
    pub fn len(&self) -> usize {
        (self.end as usize).wrapping_sub(self.data as usize)
    }

    /// The first `len` bytes.
    #[cfg(feature = "testing")]
    pub fn cut(self, len: usize) -> Self {
        if len >= self.len() {
            return self;
        }
        Self { end: self.data.wrapping_add(len), ..self }
    }

    /// The frame behind its first `len` bytes, which become its headroom.
    #[cfg(feature = "testing")]
    pub fn behind(self, len: usize) -> Self {
        Self { data: self.data.wrapping_add(len.min(self.len())), ..self }
    }

    /// The frame and the last `len` bytes of its headroom, if that has so many.
    #[cfg(feature = "testing")]
    pub fn grown(self, len: usize) -> Option<Self> {
        let headroom = (self.data as usize).wrapping_sub(self.floor as usize);
        if len > headroom { None } else { Some(Self { data: self.data.wrapping_sub(len), ..self }) }
    }

    /// The same frame, for a call that is not inlined: this one then need not leave its registers.
    #[inline(always)]
    pub fn reborrow(&self) -> Frame<'_> {
        Frame { memory: PhantomData, ..*self }
    }

    /// The `N` bytes at `offset`, if the frame has them.
    #[inline(always)]
    pub fn view<const N: usize>(&self, offset: usize) -> Option<View<'_, N>> {
        let start = opaque(self.data.wrapping_add(offset));
        if start.wrapping_add(N) > self.end {
            return None;
        }
        Some(View { start, frame: PhantomData })
    }
}

type Mac = [u8; 6];

/// `N` bytes of a frame, proven to be there.
#[derive(Clone, Copy)]
pub struct View<'f, const N: usize> {
    start: *mut u8,
    frame: PhantomData<&'f Frame<'f>>,
}

macro_rules! words {
    ($($get:ident $set:ident $word:ty;)+) => {$(
        /// The word at `AT`, as it lies in the packet (never swapped).
        #[inline(always)]
        pub fn $get<const AT: usize>(self) -> $word {
            const { assert!(AT + size_of::<$word>() <= N) };
            // SAFETY: `view` proved N bytes, the assertion keeps the word within them; alignment is not assumed.
            unsafe { self.start.add(AT).cast::<$word>().read_unaligned() }
        }

        /// Overwrites the word at `AT`.
        #[inline(always)]
        pub fn $set<const AT: usize>(self, word: $word) {
            const { assert!(AT + size_of::<$word>() <= N) };
            // SAFETY: as for the read; no reference to the bytes exists.
            unsafe { self.start.add(AT).cast::<$word>().write_unaligned(word) }
        }
    )+};
}

impl<const N: usize> View<'_, N> {
    words! {
        u8 set_u8 u8;
        u16 set_u16 u16;
        u32 set_u32 u32;
        addr6 set_addr6 [u32; 4];
    }

    /// All of them.
    #[inline(always)]
    pub fn bytes(self) -> [u8; N] {
        // SAFETY: `view` proved N bytes; bytes are always aligned.
        unsafe { self.start.cast::<[u8; N]>().read() }
    }

    /// Where the bytes are, for a helper of the kernel's.
    #[inline(always)]
    pub fn as_ptr(self) -> *const u8 {
        self.start
    }

    #[inline(always)]
    pub fn mac<const AT: usize>(self) -> Mac {
        const { assert!(AT + size_of::<Mac>() <= N) };
        // SAFETY: as for words.
        let (high, low) = unsafe {
            let mac = self.start.add(AT);
            (mac.cast::<u32>().read_unaligned(), mac.add(4).cast::<u16>().read_unaligned())
        };
        let ([a, b, c, d], [e, f]) = (high.to_ne_bytes(), low.to_ne_bytes());
        [a, b, c, d, e, f]
    }

    /// In two words: six bytes at once would be a call of `memmove`, which costs more than the look-up.
    #[inline(always)]
    pub fn set_mac<const AT: usize>(self, &[a, b, c, d, e, f]: &Mac) {
        const { assert!(AT + size_of::<Mac>() <= N) };
        let (high, low) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
        // SAFETY: as for words.
        unsafe {
            let mac = self.start.add(AT);
            mac.cast::<u32>().write_unaligned(high);
            mac.add(4).cast::<u16>().write_unaligned(low);
        }
    }
}

/// Hides where a pointer comes from. Without it LLVM derives the address anew from another base register, and the
/// verifier loses the range that the check has established.
#[inline(always)]
fn opaque(p: *mut u8) -> *mut u8 {
    #[cfg(target_arch = "bpf")]
    {
        let mut address = p as usize;
        // SAFETY: an empty instruction sequence that keeps its operand.
        unsafe { core::arch::asm!("/* {0} */", inout(reg) address, options(nomem, nostack, preserves_flags, pure)) };
        address as *mut u8
    }
    #[cfg(not(target_arch = "bpf"))]
    p
}

#[inline(always)]
fn hidden(number: usize) -> usize {
    opaque(number as *mut u8) as usize
}

/// `offset & MASK`, as a number about which the verifier knows only the mask.
///
/// Known constants multiply the paths it walks: three VLAN depths, or every combination of option offsets. `noise` is
/// any value loaded from the packet; it is taken away from itself.
#[inline(always)]
pub fn unknown<const MASK: usize>(offset: usize, noise: u8) -> usize {
    let noise = noise as usize;
    let unknown = offset.wrapping_add(noise.wrapping_sub(hidden(noise))) & MASK;
    // Hidden again, or the compiler takes the mask away where another one follows.
    hidden(unknown)
}

/// A constant that the compiler does not know. It merges stores of known neighbours into 8-byte ones at any address,
/// and the verifier refuses misaligned access to the stack.
#[inline(always)]
pub fn unmerged(word: u32) -> u32 {
    hidden(word as usize) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_ends_where_the_frame_ends() {
        let mut bytes = [0u8; 20];
        let frame = Frame::from_bytes(&mut bytes);
        assert_eq!(frame.len(), 20);
        assert!(frame.view::<20>(0).is_some());
        assert!(frame.view::<20>(1).is_none());
        assert!(frame.view::<1>(19).is_some());
        assert!(frame.view::<1>(20).is_none());
    }

    #[test]
    fn words_are_read_and_written_in_place() {
        let mut bytes = [1u8, 2, 3, 4, 5, 6];
        let frame = Frame::from_bytes(&mut bytes);
        let view = frame.view::<6>(0).unwrap();
        assert_eq!(view.u32::<1>(), u32::from_ne_bytes([2, 3, 4, 5]));
        view.set_u16::<0>(u16::from_ne_bytes([9, 8]));
        assert_eq!(view.mac::<0>(), [9, 8, 3, 4, 5, 6]);
    }

    #[test]
    fn unknown_keeps_the_number() {
        assert_eq!(unknown::<31>(18, 0x81), 18);
    }
}
