// What EETQ's cutlass_preprocessors.cc includes of CUDA and CUTLASS, for a compiler without either:
// the layouts of 8-bit weights of `mixed_gemm_B_layout.h`, and checks that end the program.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>

struct half {  // never used: the weights are float
  float number;
  half(float from = 0) : number(from) {}
  operator float() const { return number; }
};
#define FT_CHECK(what) \
  if (!(what)) { std::fprintf(stderr, "%s\n", #what); std::abort(); }
#define FT_CHECK_WITH_INFO(what, info) FT_CHECK(what)
template <typename... Rest> std::string fmtstr(Rest...) { return ""; }

namespace cutlass {
struct uint4b_t {};
namespace layout {
struct RowMajor {};
struct ColumnMajor {};
template <int RowsPerTile, int ColumnsInterleaved> struct ColumnMajorTileInterleave {};
}  // namespace layout
namespace arch {
struct OpMultiplyAdd {};
struct OpMultiplyAddDequantizeInterleavedBToA {};
struct Sm70 { static constexpr int version = 70; };
struct Sm75 { static constexpr int version = 75; };
struct Sm80 { static constexpr int version = 80; };
}  // namespace arch
namespace gemm {
namespace kernel {
template <typename Type, typename Arch> struct LayoutDetailsB {
  using Layout = typename std::conditional<(Arch::version >= 75),
      layout::ColumnMajorTileInterleave<64, 2>, layout::ColumnMajor>::type;
  using Operator = typename std::conditional<(Arch::version >= 75),
      arch::OpMultiplyAddDequantizeInterleavedBToA, arch::OpMultiplyAdd>::type;
};
}  // namespace kernel
}  // namespace gemm
}  // namespace cutlass

namespace fastertransformer {
inline int getSMVersion() { return 80; }
}  // namespace fastertransformer
