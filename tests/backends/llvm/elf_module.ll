; What the tests of the ELF writer link: calls inside and outside, a table of both, variables of every kind, a jump table,
; and a vector load that faults unless its constant is aligned.

declare float @expf(float)
declare float @powf(float, float)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

@functions = internal constant [3 x ptr] [ptr @square, ptr @cube, ptr @expf]
@weights = global [4 x i32] [i32 10, i32 20, i32 30, i32 40]
@first_weight = global ptr @weights
@calls = internal global i32 7
@workspace = internal global [1000 x i32] zeroinitializer, align 64
@tentative = common global i32 0, align 32
@secret = hidden global i32 5
@lanes = internal constant [16 x float] [
  float 1.0, float 2.0, float 3.0, float 4.0, float 5.0, float 6.0, float 7.0, float 8.0,
  float 9.0, float 10.0, float 11.0, float 12.0, float 13.0, float 14.0, float 15.0, float 16.0], align 64

define internal float @square(float %x) noinline {
  %y = fmul float %x, %x
  ret float %y
}
define float @cube(float %x) {
  %y = call float @square(float %x)
  %z = fmul float %y, %x
  ret float %z
}
define float @dispatch(i64 %index, float %x) section ".text.hot" {
  %place = getelementptr ptr, ptr @functions, i64 %index
  %function = load ptr, ptr %place
  %y = call float %function(float %x)
  ret float %y
}
define float @outside(float %x, float %y) {
  %power = call float @powf(float %x, float %y)
  %result = call float @expf(float %power)
  ret float %result
}
define i32 @count() {
  %n = load i32, ptr @calls
  %next = add i32 %n, 1
  store i32 %next, ptr @calls
  store i32 %next, ptr @tentative
  %hidden = load i32, ptr @secret
  %sum = add i32 %next, %hidden
  ret i32 %sum
}
define i32 @accumulate(i64 %index, i32 %value) {
  %place = getelementptr i32, ptr @workspace, i64 %index
  %old = load i32, ptr %place
  %new = add i32 %old, %value
  store i32 %new, ptr %place
  ret i32 %new
}
define void @copy_weights(ptr %to, i64 %bytes) {
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr @weights, i64 %bytes, i1 false)
  ret void
}
define void @copy_lanes(ptr %to) {
  %v = load <16 x float>, ptr @lanes, align 64
  store <16 x float> %v, ptr %to, align 4
  ret void
}
define i64 @misalignment() {
  %lanes = ptrtoint ptr @lanes to i64
  %workspace = ptrtoint ptr @workspace to i64
  %tentative = ptrtoint ptr @tentative to i64
  %twice = shl i64 %tentative, 1
  %some = or i64 %lanes, %workspace
  %all = or i64 %some, %twice
  %low = and i64 %all, 63
  ret i64 %low
}
define i32 @choose(i32 %x) {
  switch i32 %x, label %other [ i32 0, label %a
                                i32 1, label %b
                                i32 2, label %c
                                i32 3, label %d
                                i32 4, label %e ]
a:
  %r = call i32 @count()
  ret i32 %r
b:
  call float @cube(float 2.0)
  ret i32 81
c:
  ret i32 17
d:
  call float @expf(float 2.0)
  ret i32 55
e:
  ret i32 -3
other:
  ret i32 99
}
