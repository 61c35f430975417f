#include "kernels/pack.h"

#include <cstring>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pack.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void PackNibbles(const uint8_t* codes, size_t count, uint8_t* packed) { reference::PackCodes(codes, count, 4, packed); }
void PackPairs(const uint8_t* codes, size_t count, uint8_t* packed) { reference::PackCodes(codes, count, 2, packed); }
void UnpackNibbles(const uint8_t* packed, size_t count, uint8_t* codes) {
  reference::UnpackCodes(packed, count, 4, codes);
}
void UnpackPairs(const uint8_t* packed, size_t count, uint8_t* codes) {
  reference::UnpackCodes(packed, count, 2, codes);
}

#else

// Two neighbours are one 16-bit lane, the first in its low byte.
void PackNibbles(const uint8_t* codes, size_t count, uint8_t* packed) {
  const hn::ScalableTag<uint16_t> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Repartition<uint8_t, decltype(d)> db;
  const hn::Rebind<uint8_t, decltype(d)> half;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto pair = hn::And(hn::BitCast(d, hn::LoadU(db, codes + i)), hn::Set(d, 0x0f0f));
    const auto both = hn::And(hn::Or(pair, hn::ShiftRight<4>(pair)), hn::Set(d, 0x00ff));
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(di, both)), half, packed + i / 2);
  }
  reference::PackCodes(codes + i, count - i, 4, packed + i / 2);
}

// Four neighbours are one 32-bit lane.
void PackPairs(const uint8_t* codes, size_t count, uint8_t* packed) {
  const hn::ScalableTag<uint32_t> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Repartition<uint8_t, decltype(d)> db;
  const hn::Rebind<uint8_t, decltype(d)> quarter;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto four = hn::And(hn::BitCast(d, hn::LoadU(db, codes + i)), hn::Set(d, 0x03030303u));
    const auto low = hn::Or(four, hn::ShiftRight<6>(four));
    const auto all = hn::And(hn::Or(low, hn::ShiftRight<12>(low)), hn::Set(d, 0xffu));
    hn::StoreU(hn::DemoteTo(quarter, hn::BitCast(di, all)), quarter, packed + i / 4);
  }
  reference::PackCodes(codes + i, count - i, 2, packed + i / 4);
}

void UnpackNibbles(const uint8_t* packed, size_t count, uint8_t* codes) {
  const hn::ScalableTag<uint16_t> d;
  const hn::Repartition<uint8_t, decltype(d)> db;
  const hn::Rebind<uint8_t, decltype(d)> half;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto both = hn::PromoteTo(d, hn::LoadU(half, packed + i / 2));
    const auto pair = hn::And(hn::Or(both, hn::ShiftLeft<4>(both)), hn::Set(d, 0x0f0f));
    hn::StoreU(hn::BitCast(db, pair), db, codes + i);
  }
  reference::UnpackCodes(packed + i / 2, count - i, 4, codes + i);
}

void UnpackPairs(const uint8_t* packed, size_t count, uint8_t* codes) {
  const hn::ScalableTag<uint32_t> d;
  const hn::Repartition<uint8_t, decltype(d)> db;
  const hn::Rebind<uint8_t, decltype(d)> quarter;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto all = hn::PromoteTo(d, hn::LoadU(quarter, packed + i / 4));
    const auto low = hn::Or(all, hn::ShiftLeft<12>(all));
    const auto four = hn::And(hn::Or(low, hn::ShiftLeft<6>(low)), hn::Set(d, 0x03030303u));
    hn::StoreU(hn::BitCast(db, four), db, codes + i);
  }
  reference::UnpackCodes(packed + i / 4, count - i, 2, codes + i);
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(PackNibbles);
HWY_EXPORT(PackPairs);
HWY_EXPORT(UnpackNibbles);
HWY_EXPORT(UnpackPairs);

void PackCodes(const uint8_t* codes, size_t count, int bits, uint8_t* packed) {
  if (count == 0) return;
  if (bits == 8) {
    std::memcpy(packed, codes, count);
  } else if (bits == 4) {
    HWY_DYNAMIC_DISPATCH(PackNibbles)(codes, count, packed);
  } else {
    HWY_DYNAMIC_DISPATCH(PackPairs)(codes, count, packed);
  }
}

void UnpackCodes(const uint8_t* packed, size_t count, int bits, uint8_t* codes) {
  if (count == 0) return;
  if (bits == 8) {
    std::memcpy(codes, packed, count);
  } else if (bits == 4) {
    HWY_DYNAMIC_DISPATCH(UnpackNibbles)(packed, count, codes);
  } else {
    HWY_DYNAMIC_DISPATCH(UnpackPairs)(packed, count, codes);
  }
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
