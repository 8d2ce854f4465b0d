// Streams raw audio (16-bit little-endian, 16 kHz, one channel) from standard input, and prints what is recognised.
//
// The package inference is generated: see docs/other-languages.md.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"amira/inference"
)

const (
	model          = "asr_streaming"
	bytesPerSample = 2
	int16Scale     = 32768
	timeout        = 10 * time.Second
)

func main() {
	log.SetFlags(0)
	endpoint := "localhost:8001"
	if len(os.Args) > 1 {
		endpoint = os.Args[1]
	}
	if err := recognise(endpoint, os.Stdin); err != nil {
		log.Fatal(err)
	}
}

func recognise(endpoint string, audio io.Reader) error {
	connection, err := grpc.Dial(endpoint, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	client := inference.NewGRPCInferenceServiceClient(connection)
	chunk, err := chunkBytes(client)
	if err != nil {
		return err
	}
	stream, err := client.ModelStreamInfer(context.Background())
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	id := newID()
	for start, end := true, false; !end; start = false {
		// The last chunk may be shorter, even empty; every other one has exactly so many samples.
		buffer := make([]byte, chunk)
		count, err := io.ReadFull(audio, buffer)
		end = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		if err := stream.Send(request(id, buffer[:count], start, end)); err != nil {
			return err
		}
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		if response.ErrorMessage != "" {
			return errors.New(response.ErrorMessage)
		}
		label := "..."
		if end {
			label = "final:"
		}
		fmt.Println(label, text(response.InferResponse))
	}
	return nil
}

// chunkBytes asks the server for the length of a chunk.
func chunkBytes(client inference.GRPCInferenceServiceClient) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := client.ModelConfig(ctx, &inference.ModelConfigRequest{Name: model})
	if err != nil {
		return 0, err
	}
	samples, err := strconv.Atoi(answer.Config.Parameters["chunk_samples"].StringValue)
	return bytesPerSample * samples, err
}

func request(id string, pcm []byte, start, end bool) *inference.ModelInferRequest {
	samples := len(pcm) / bytesPerSample
	floats := make([]byte, 0, 4*samples)
	for at := 0; at+1 < len(pcm); at += bytesPerSample {
		sample := float32(int16(binary.LittleEndian.Uint16(pcm[at:]))) / int16Scale
		floats = binary.LittleEndian.AppendUint32(floats, math.Float32bits(sample))
	}
	parameters := map[string]*inference.InferParameter{
		"sequence_id":    {ParameterChoice: &inference.InferParameter_StringParam{StringParam: id}},
		"sequence_start": {ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: start}},
		"sequence_end":   {ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: end}},
	}
	return &inference.ModelInferRequest{
		ModelName:  model,
		Parameters: parameters, // with START also options of docs/decoding.md
		Inputs: []*inference.ModelInferRequest_InferInputTensor{
			{Name: "AUDIO", Datatype: "FP32", Shape: []int64{1, int64(samples)}},
		},
		Outputs:          []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "TRANSCRIPT"}},
		RawInputContents: [][]byte{floats},
	}
}

// text reads the only output: BYTES are texts, each after its length in four bytes.
func text(response *inference.ModelInferResponse) string {
	bytes := response.RawOutputContents[0]
	return string(bytes[4 : 4+binary.LittleEndian.Uint32(bytes)])
}

// newID is random, never a counter: two clients would collide.
func newID() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", bytes)
}
