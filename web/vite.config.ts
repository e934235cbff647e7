import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const RUNTIME = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";

/** ONNX Runtime's WebAssembly goes into the page once, compressed: 3.7 MB rather than 14. The worker unpacks it. */
function compressedRuntime(): Plugin {
  const packed = () => gzipSync(readFileSync(RUNTIME), { level: 9 });
  return {
    name: "compressed-runtime",
    generateBundle(_, bundle) {
      for (const name of Object.keys(bundle)) if (name.endsWith(".wasm")) delete bundle[name];
      this.emitFile({ type: "asset", fileName: "ort.wasm.gz", source: packed() });
    },
    configureServer(server) {
      server.middlewares.use("/ort.wasm.gz", (_, response) => response.end(packed()));
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [compressedRuntime()],
  worker: {
    format: "es",
    plugins: () => [
      {
        name: "no-second-runtime",
        generateBundle(_, bundle) {
          for (const name of Object.keys(bundle)) if (name.endsWith(".wasm")) delete bundle[name];
        },
      },
    ],
  },
  build: { target: "es2022", chunkSizeWarningLimit: 1000, reportCompressedSize: false },
});
