// Threads that sleep between calls and share one call's work in equal, fixed parts.
#pragma once

namespace amgsrn {

using Work = void (*)(void* context, int part);

// Runs work(context, part) for every part in [0, parts), the first on the calling thread. Which
// thread runs a part never changes its result. Calls may come from several threads at once and
// from the children of fork(); a call that finds the pool busy does all parts itself.
void run_parts(int parts, Work work, void* context);

template <class Function>
void for_parts(int parts, Function& function) {
  run_parts(
      parts, [](void* context, int part) { (*static_cast<Function*>(context))(part); }, &function);
}

}  // namespace amgsrn
